//! What does a command line say of the process that it starts? On which devices it computes, whether it encodes, how many batches at
//! once. None of it changes a number, so none of it is of the dataflow file.

use super::{DataflowSpec, ModelSpec};
use crate::device::{BackendName, DeviceName, Devices};
use crate::error::{Error, Result};

/// Batches that a worker encodes at once at most.
const MOST_AT_ONCE: u64 = 16;

impl DataflowSpec {
    /// Has models that the tensor library computes computed on each of `devices`, batch by batch, in place of the device that the file
    /// names, or by other processes; as before where none are given. `workers` take turns.
    ///
    /// # Errors
    /// `Request` for devices of another kind than the file's, or that no model or no worker would use.
    pub fn take_devices(&mut self, devices: Option<&Devices>, workers: usize) -> Result<()> {
        let Some(given) = devices else { return Ok(()) };
        let refused = |what: String| Err(Error::request(format!("--devices {given}: {what}")));
        let mut models: Vec<(&String, &mut ModelSpec)> =
            self.models.iter_mut().filter(|(_, model)| model.backend == BackendName::Candle).collect();
        if models.is_empty() {
            return refused("no model has backend = \"candle\", and the kernels run on the CPU; leave it out".into());
        }
        let Devices::Of(devices) = given else {
            self.here.folds_only = true;
            return Ok(());
        };
        if !workers.is_multiple_of(devices.len()) {
            return refused(format!(
                "{} devices, and --workers is {workers}; each worker uses one device: give --workers {} or a multiple",
                devices.len(),
                devices.len()
            ));
        }
        let kind = |device: &DeviceName| *device == DeviceName::Cpu;
        for (name, model) in &mut models {
            if devices.iter().any(|device| kind(device) != kind(&model.device)) {
                return refused(format!(
                    "models.{name} is to be computed on {}, whose numbers are others; write device = \"{}\" in the dataflow file",
                    model.device, devices[0]
                ));
            }
            model.devices.clone_from(devices);
        }
        Ok(())
    }

    /// Has each worker encode `n` batches at once.
    ///
    /// # Errors
    /// `Request` for none, or very many.
    pub fn encode_at_once(&mut self, n: Option<u64>) -> Result<()> {
        if let Some(n) = n.filter(|n| !(1..=MOST_AT_ONCE).contains(n)) {
            return Err(Error::request(format!("--encode-at-once is {n}, expected 1 to {MOST_AT_ONCE}")));
        }
        self.here.encode_at_once = n.map(|n| n as usize);
        Ok(())
    }

    /// Batches that a worker encodes at once: two where a model is computed on a device with processors of its own, so that it
    /// computes the next batch while one comes back, else one.
    pub fn encoded_at_once(&self) -> usize {
        let is_beside =
            |model: &ModelSpec| model.backend == BackendName::Candle && model.compute().device != DeviceName::Cpu;
        let default = if self.models.values().any(is_beside) { 2 } else { 1 };
        self.here.encode_at_once.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn spec(keys: &str) -> DataflowSpec {
        let text = format!(
            "format = 1\nname = \"x\"\n[corpus]\nfiles = [\"x.jsonl\"]\ncontext_length = 8\n[models.a]\npath = \"a\"\n{keys}\n[models.b]\npath = \"b\"\n[compare]\n\
             pairs = [[\"a/resid_post.0\", \"b/resid_post.0\"]]\n"
        );
        DataflowSpec::parse(&text, Path::new("x.toml")).unwrap()
    }

    #[test]
    fn a_device_beside_the_processors_has_two_batches() {
        assert_eq!(spec("").encoded_at_once(), 1);
        assert_eq!(spec("backend = \"candle\"").encoded_at_once(), 1);
        let mut on_device = spec("backend = \"candle\"");
        on_device.models.get_mut("a").unwrap().device = DeviceName::Cuda(0);
        assert_eq!(on_device.encoded_at_once(), 2);
        for n in [1, 3, 16] {
            on_device.encode_at_once(Some(n)).unwrap();
            assert_eq!(on_device.encoded_at_once() as u64, n);
        }
        for n in [0, 17, u64::MAX] {
            assert!(on_device.encode_at_once(Some(n)).unwrap_err().to_string().contains("expected 1 to 16"));
        }
        on_device.encode_at_once(None).unwrap();
        assert_eq!(on_device.encoded_at_once(), 2);
    }

    #[test]
    fn no_device_is_a_wish_of_its_own() {
        let mut of_device = spec("backend = \"candle\"");
        of_device.take_devices(Some(&Devices::None), 3).unwrap();
        assert!(of_device.here.folds_only && of_device.models["a"].devices.is_empty());
        let said = spec("").take_devices(Some(&Devices::None), 1).unwrap_err().to_string();
        assert!(said.contains("--devices none: no model has backend"), "{said}");
        assert!(!spec("").here.folds_only);
        for (text, expected) in [("none", Devices::None), ("cpu,cpu", Devices::Of(vec![DeviceName::Cpu; 2]))] {
            assert_eq!(text.parse::<Devices>().unwrap(), expected);
            assert_eq!(expected.to_string(), text);
        }
        assert!("cpu,none".parse::<Devices>().is_err() && "".parse::<Devices>().is_err());
    }
}
