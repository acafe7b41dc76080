//! With what is a model computed, where, and in which numbers, and what cannot be had?

use crate::error::{Error, Result};
use crate::linalg::bf16::Way;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// `backend`, `device` and `dtype` of `[models.NAME]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compute {
    /// With what.
    pub backend: BackendName,
    /// Where.
    pub device: DeviceName,
    /// In which numbers.
    pub dtype: Dtype,
}

/// With what a model is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendName {
    /// This program's own kernels: one context at a time, on the CPU, in f32 or bf16.
    #[default]
    Kernels,
    /// The tensor library candle: many contexts at once, on any of its devices.
    Candle,
}

/// Where a model is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceName {
    /// `cpu`
    #[default]
    Cpu,
    /// `cuda:N`
    Cuda(usize),
}

/// The devices that a command line gives: `none`, or names separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// This process has no device, and encodes nothing.
    None,
    /// These, in turn.
    Of(Vec<DeviceName>),
}

/// Number format of a model's computation; weights are stored as they come and converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, for processors and devices that multiply it.
    Bf16,
    /// 16-bit floats, for devices that multiply them.
    F16,
}

/// Whether this build can open CUDA devices.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

impl Dtype {
    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::Bf16 | Dtype::F16 => 2,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
        })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl Serialize for DeviceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = || text.strip_prefix("cuda:")?.parse().ok();
        match (text, number()) {
            ("cpu", _) => Ok(DeviceName::Cpu),
            (_, Some(number)) => Ok(DeviceName::Cuda(number)),
            _ => Err(format!("device {text:?}; expected \"cpu\", or \"cuda:0\" for the first CUDA device")),
        }
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "none" => Ok(Devices::None),
            list => list.split(',').map(str::parse).collect::<std::result::Result<_, _>>().map(Devices::Of),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Devices::None => f.write_str("none"),
            Devices::Of(list) => f.write_str(&list.iter().map(DeviceName::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl FromStr for BackendName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "kernels" => Ok(BackendName::Kernels),
            "candle" => Ok(BackendName::Candle),
            _ => Err(format!("backend {text:?}; expected kernels or candle")),
        }
    }
}

impl FromStr for Dtype {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = [Dtype::F32, Dtype::Bf16, Dtype::F16].into_iter().find(|dtype| dtype.to_string() == text);
        known.ok_or_else(|| format!("dtype {text:?}; expected f32, bf16 or f16"))
    }
}

/// For people: nothing where it is as usual.
impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backend {
            BackendName::Kernels if self.dtype == Dtype::F32 => Ok(()),
            BackendName::Kernels => write!(f, "in {}", self.dtype),
            BackendName::Candle => write!(f, "by candle on {} in {}", self.device, self.dtype),
        }
    }
}

impl Compute {
    /// Whether this program's own kernels multiply in bf16: weights are kept in half the memory, and screen nothing.
    pub fn rounds_for_kernels(&self) -> bool {
        self.backend == BackendName::Kernels && self.dtype == Dtype::Bf16
    }

    /// What cannot be had in this way on any machine, by this build, with a remedy.
    ///
    /// # Errors
    /// `Request`.
    pub fn check(&self) -> Result<()> {
        let fail = |what: String| Err(Error::request(what));
        match *self {
            Compute { backend: BackendName::Kernels, device: DeviceName::Cuda(n), .. } => fail(format!(
                "device = \"cuda:{n}\", but this program's own kernels run on the CPU; add backend = \"candle\", or take device out"
            )),
            Compute { backend: BackendName::Kernels, dtype: Dtype::F16, .. } => fail(
                "dtype is \"f16\", but this program's own kernels multiply f32 and bf16 only: f16 would be widened for every \
                 product, slower and with fewer digits; write dtype = \"f32\" (weights stored in f16 are read as they are)"
                    .into(),
            ),
            Compute { backend: BackendName::Candle, device: DeviceName::Cpu, dtype: Dtype::Bf16 } => fail(
                "dtype is \"bf16\", which candle does not multiply on the CPU; write dtype = \"f32\" or \"f16\", or name a \
                 device that does (this program's own kernels, backend = \"kernels\", multiply it where the processor does)"
                    .into(),
            ),
            Compute { device: DeviceName::Cuda(n), .. } if !HAS_CUDA => fail(format!(
                "device = \"cuda:{n}\", but this program was built without CUDA; build it with --features cuda, or write \
                 device = \"cpu\""
            )),
            _ => Ok(()),
        }
    }

    /// What cannot be had on this machine, with a remedy: bf16 by the kernels, where the processor does not multiply it.
    ///
    /// # Errors
    /// `Request`.
    pub fn check_here(&self) -> Result<()> {
        if self.rounds_for_kernels() && Way::of_this_machine().is_none() {
            return Err(Error::request(
                "dtype is \"bf16\", but this processor has no instruction that multiplies bf16 (AVX-512 BF16; Linux lists it as \
                 avx512_bf16): its numbers would be widened for every product, slower and with fewer digits; write dtype = \"f32\" \
                 (weights stored in bf16 are read as they are), or take a machine that has it",
            ));
        }
        Ok(())
    }
}
