//! Which commands and flags are there, and what is their `--help`?

use crate::corpus::parse_count;
use crate::device::{BackendName, Compute, DeviceName, Devices, Dtype};
use crate::error::{Error, Result};
use crate::ids::HookName;
use crate::sae::Format;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// As in docs/running.md.
const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 a check failed: two runs differ, or an SAE does not fit its hookpoint; 2 the request is wrong: flags, keys, names; 3 input data \
is wrong; 4 the run directory is damaged, or belongs to another run; 5 a system error: memory (more is needed than --memory-limit allows), disk, a directory \
in use by another process, a lost process; 130 interrupted: the same command resumes.";

/// Finds which SAE latents of different language models correspond, and how similar their feature spaces are, in one
/// streaming pass over a corpus.
#[derive(Debug, Parser)]
#[command(name = "cognate", version, about, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a dataflow file, resuming from its last checkpoint
    ///
    /// Results are Parquet tables in DIR/tables, all replaced together at every snapshot. Lost or damaged tables are made
    /// again. Ctrl-C saves the state and exits with code 130; the same command resumes. A directory that holds another run is
    /// refused.
    Run(RunArgs),
    /// Show what a dataflow file would do: steps, shapes, memory, disk
    ///
    /// Opens headers only. With --measure one batch is run, and the time of the whole run is estimated from it.
    Plan {
        /// The dataflow file, or - for standard input
        flow: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Refuse a plan over this much memory, for example 16GiB
        #[arg(long, value_name = "SIZE")]
        memory_limit: Option<String>,
        /// Load models and SAEs, run one batch, and estimate how long a run would take
        #[arg(long)]
        measure: bool,
        /// Estimate it for 1, 2, 4 … up to this many machines like this one, a process on each
        #[arg(long, value_name = "N", requires = "measure", value_parser = count_from_1)]
        machines: Option<u64>,
        /// Devices of each machine, where the dataflow file names one; batches go round them [default: 1]
        #[arg(long, value_name = "N", requires = "machines", value_parser = count_from_1)]
        devices: Option<u64>,
        /// Gbit a second that each machine sends and receives
        #[arg(long, value_name = "GBIT", requires = "machines", default_value = "10", value_parser = rate)]
        network: f64,
    },
    /// Show the status of a run, running or finished; read-only
    Status {
        /// The run directory
        run: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one latent of a run: statistics, top tokens in context, partners beside chance, its group
    Show {
        /// The run directory
        run: PathBuf,
        /// MODEL/HOOKPOINT/LATENT, for example small-a/resid_post.2/129
        latent: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Match and score again from a run's saved sums, with other filters, measures, pairings, categories or nulls
    ///
    /// Writes the tables that a run with these settings would have produced; nothing is streamed. Keys that change the sums
    /// are refused, and so is a run whose SAEs, tokenizer or dataflow file have changed since.
    Score {
        /// The run directory
        run: PathBuf,
        /// A key of the dataflow file and its value, for example estimate.filters.one_to_one=hungarian; repeat for more
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Folder for the tables [default: RUN/scores/NAME, named after the settings]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Refuse a plan over this much memory [default: what the machine has free]
        #[arg(long, value_name = "SIZE")]
        memory_limit: Option<String>,
    },
    /// Write what a run found for other tools: directions of latents in the other model, maps, dictionaries
    ///
    /// A run with compare.readout = true has, for each latent, the change of the other place's activations per unit of it. One with
    /// compare.stitch = true has maps from one place's activations into the other's, which also take an SAE there.
    Export {
        /// The run directory
        run: PathBuf,
        /// Write every transferred direction into this safetensors file [default: RUN/directions.safetensors]
        #[arg(long, value_name = "FILE", num_args = 0..=1)]
        directions: Option<Option<PathBuf>>,
        /// Write one of them as a control vector of llama.cpp (GGUF); needs --latent
        #[arg(long, value_name = "FILE", requires = "latent")]
        control_vector: Option<PathBuf>,
        /// MODEL/HOOKPOINT/LATENT, for example small-a/resid_post.2/129
        #[arg(long, requires = "control_vector")]
        latent: Option<String>,
        /// MODEL/HOOKPOINT that it is steered in, where it was read out of several; or that a dictionary is taken into
        #[arg(long, value_name = "SITE")]
        into: Option<String>,
        /// Write every map between two places into this safetensors file [default: RUN/maps.safetensors]
        #[arg(long, value_name = "FILE", num_args = 0..=1)]
        maps: Option<Option<PathBuf>>,
        /// Write the SAE of one place as one of another, a SAELens folder; needs --from and --into
        #[arg(long, value_name = "DIR", requires = "from", requires = "into")]
        dictionary: Option<PathBuf>,
        /// MODEL/HOOKPOINT whose SAE it is
        #[arg(long, value_name = "SITE", requires = "dictionary")]
        from: Option<String>,
        /// Write contexts of the latents of kept matches as a latent cache that delphi reads: DIR/MODEL/latents
        #[arg(long, value_name = "DIR")]
        delphi: Option<PathBuf>,
        /// Full contexts of that cache, drawn from those of the run
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count_from_1, requires = "delphi")]
        contexts: u64,
        /// Refuse a plan over this much memory [default: what the machine has free]
        #[arg(long, value_name = "SIZE")]
        memory_limit: Option<String>,
    },
    /// Write a run as one HTML page that needs no network: scores beside nulls, matches in context, a map
    Report {
        /// The run directory
        run: PathBuf,
        /// File to write [default: RUN/report.html]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Another run of the same hookpoints, shown next to it: a control with random weights, another seed
        #[arg(long, value_name = "RUN")]
        beside: Option<PathBuf>,
    },
    /// Check that every SAE fits its hookpoint (exit code 1 if one does not)
    ///
    /// Tries each SAE as declared, then with one change at a time: one block earlier or later, the normed twin, the decoder
    /// bias, centring, the scale. An SAE does not fit if another configuration is clearly better, if its FVU (fraction of
    /// variance unexplained) is 1 or more, or if its own files contradict the dataflow file.
    Doctor {
        /// The dataflow file, or - for standard input
        flow: PathBuf,
        /// Counted tokens to read, rounded up to a whole batch
        #[arg(long, value_name = "N", default_value_t = 4096, value_parser = count_from_1)]
        tokens: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare the tables of two runs (exit code 1 when their numbers differ)
    Diff {
        /// A run directory, or a Parquet file
        a: PathBuf,
        /// Another
        b: PathBuf,
    },
    /// Merge runs over disjoint shards of a corpus into one
    ///
    /// The runs must differ only in [corpus] files, and their SAEs must be unchanged. DIR gets the sums, tables, nulls and page of
    /// one run over all shards. It can be shown, compared and merged again.
    Merge {
        /// Run directories, in the order of their shards
        #[arg(required = true, num_args = 2..)]
        runs: Vec<PathBuf>,
        /// Run directory to write; must not hold a run yet
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Refuse a plan over this much memory [default: what the machine has free]
        #[arg(long, value_name = "SIZE")]
        memory_limit: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a model's activations at hookpoints, for given token ids
    Activations {
        /// Model folder, a .gguf file, or hf:owner/name[@revision]
        #[arg(long)]
        model: String,
        #[command(flatten)]
        compute: ComputeArgs,
        /// Safetensors file with integer tensors named input_ids or NAME.input_ids
        #[arg(long)]
        tokens: PathBuf,
        /// Hookpoints, separated by commas: embed, resid_post.3, mlp_out.2 …; also names of TransformerLens
        /// (blocks.3.hook_resid_post) and module paths of transformers (model.layers.3.mlp.down_proj)
        #[arg(long, value_delimiter = ',', required = true)]
        hookpoints: Vec<HookName>,
        /// Safetensors file to write
        #[arg(long)]
        out: PathBuf,
    },
    /// Encode activations with an SAE
    Encode {
        /// SAE folder or file, hf:owner/name[@revision]/folder, or sae_lens:RELEASE/SAE_ID
        #[arg(long)]
        sae: String,
        /// Safetensors file with the activations, [n, d_in] or [..., d_in]
        #[arg(long)]
        input: PathBuf,
        /// Name of the tensor in it; may be left out where there is only one
        #[arg(long)]
        tensor: Option<String>,
        /// Safetensors file to write: latents [n, d_sae]
        #[arg(long)]
        out: PathBuf,
        /// Also write the reconstruction [n, d_out]
        #[arg(long)]
        decode: bool,
        /// Insist on a format instead of sniffing
        #[arg(long)]
        format: Option<Format>,
        #[command(flatten)]
        compute: ComputeArgs,
    },
}

/// How a model or an SAE is computed.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// What computes it: kernels (this program's own, on the CPU in f32 or bf16) or candle (the tensor library, on any of its devices)
    #[arg(long, default_value = "kernels")]
    backend: BackendName,
    /// Where: cpu, or cuda:0 for the first CUDA device of a build with CUDA
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// In which numbers: f32, bf16 or f16
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
}

impl ComputeArgs {
    /// As they were given.
    pub fn compute(&self) -> Compute {
        Compute { backend: self.backend, device: self.device, dtype: self.dtype }
    }
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The dataflow file, or - for standard input
    pub flow: PathBuf,
    /// Run directory [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Workers of the dataflow in this process; matrix products use all cores anyway [default: 1]
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true)]
    pub workers: usize,
    /// Number of processes of this run
    #[arg(long, value_name = "N", requires = "hosts", requires = "process")]
    pub processes: Option<usize>,
    /// Which of them this one is, from 0
    #[arg(long, value_name = "I", requires = "processes")]
    pub process: Option<usize>,
    /// File with one HOST:PORT per line, one per process, in order
    #[arg(long, value_name = "FILE", requires = "processes")]
    pub hosts: Option<PathBuf>,
    /// File with a secret that all processes of the run share; a process that does not know it is refused
    #[arg(long, value_name = "FILE", requires = "hosts")]
    pub secret_file: Option<PathBuf>,
    /// Devices of this machine, separated by commas, in place of the one in the dataflow file: batches go round them. As many
    /// workers as devices, or a multiple. none, in a run of several processes: this one has no device, and the others encode all
    /// batches
    #[arg(long, value_name = "LIST")]
    pub devices: Option<Devices>,
    /// Batches that a worker encodes at once, so that a device computes one while another comes back [default: 2 where a model is
    /// on a CUDA device, else 1]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub encode_at_once: Option<u64>,
    /// Stop after the batch in which this many tokens are reached (50_000, 50k, 1e6), or not at all (0); a later run may go further
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub max_tokens: Option<u64>,
    /// Refuse a plan over this much memory [default: what the machine has free]
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// Refuse a plan over this much disk [default: what the disk of DIR has free]
    #[arg(long, value_name = "SIZE")]
    pub disk_limit: Option<String>,
    /// Batches that may be unfinished at once [default: 3 with one worker, else 2 plus 2 per worker of all processes]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub in_flight: Option<u64>,
    /// Delete the run in DIR, if there is one, and start from the first token
    #[arg(long)]
    pub fresh: bool,
    /// Print errors and warnings only
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,
    /// Print one JSON object per line: plan, snapshots, checkpoints, summary
    #[arg(long)]
    pub json: bool,
}

/// A number above 0.
fn rate(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| "expected a number above 0, for example 10 or 0.5".to_string())
}

/// A number, at least one.
fn count_from_1(text: &str) -> Result<u64> {
    match parse_count(text)? {
        0 => Err(Error::request("0 is too few; expected 1 or more")),
        n => Ok(n),
    }
}
