//! The command line. Flags in, exit code out; everything that changes a number is in the dataflow file.

// As the standard library's, but a closed output (`cognate run … | head`) is no failure: the text is dropped and the run
// continues.
macro_rules! println {
    ($($what:tt)*) => {{ let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($what)*))); }};
}
macro_rules! print {
    ($($what:tt)*) => {{ let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!($($what)*)); }};
}
macro_rules! eprint {
    ($($what:tt)*) => {{ let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!($($what)*)); }};
}
macro_rules! eprintln {
    ($($what:tt)*) => {{ let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($what)*))); }};
}

pub mod activations;
mod args;
mod begin;
mod check;
mod controls;
mod delphi;
pub mod diff;
mod doctor;
pub mod encode;
mod ended;
mod export;
mod fetch;
mod kept;
mod machine;
mod measure;
mod mend;
mod merge;
mod plan;
mod processes;
mod progress;
mod recorded;
mod report;
mod run;
mod score;
mod show;
mod status;
mod transport;

use crate::cli::args::{Cli, Command};
use crate::cli::progress::Console;
use crate::error::{Result, is_caught};
use crate::hub::Want;
use crate::threads;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !is_caught() {
            default(info);
        }
    }));
    let cli = Cli::try_parse().unwrap_or_else(|e| with_nearest_command(e).exit());
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Names the command that a misspelt one is near to, where clap found none.
fn with_nearest_command(mut error: clap::Error) -> clap::Error {
    let known = error.get(ContextKind::SuggestedSubcommand).is_some();
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let command = Cli::command();
    let far = |name: &&str| strsim::osa_distance(word, name);
    let near = command.get_subcommands().map(clap::Command::get_name).min_by_key(far).filter(|name| far(name) <= 2);
    if let Some(near) = near.filter(|_| !known) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![near.to_string()]));
    }
    error
}

/// Standard output. Where its reader has closed it (`cognate diff … | head`) the rest is dropped; any other failure is one.
struct Output(std::io::Stdout);

impl std::io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        unless_closed(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        unless_closed(self.0.flush(), ())
    }
}

fn unless_closed<T>(result: std::io::Result<T>, dropped: T) -> std::io::Result<T> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(dropped),
        result => result,
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Status { .. } | Command::Show { .. } | Command::Diff { .. } => threads::stay_alone(),
        _ => threads::start_pool()?,
    }
    match command {
        Command::Run(args) => run::run(&args),
        Command::Plan { flow, json, memory_limit, measure, machines, devices, network } => {
            let wanted = machines.map(|n| plan::Wanted { n, devices, gbit: network });
            plan::plan(&flow, json, memory_limit.as_deref(), measure, wanted)
        }
        Command::Status { run, json } => status::status(&run, json),
        Command::Show { run, latent, json } => show::show(&run, &latent, json),
        Command::Score { run, settings, out, memory_limit } => {
            score::score(&run, &settings, out.as_deref(), memory_limit.as_deref())
        }
        Command::Export {
            run,
            directions,
            control_vector,
            latent,
            into,
            maps,
            dictionary,
            from,
            delphi,
            contexts,
            memory_limit,
        } => {
            let wanted = export::Wanted {
                directions: directions.as_ref().map(Option::as_deref),
                control_vector: control_vector.as_deref(),
                latent: latent.as_deref(),
                into: into.as_deref(),
                maps: maps.as_ref().map(Option::as_deref),
                dictionary: dictionary.as_deref(),
                from: from.as_deref(),
                delphi: delphi.as_deref().map(|folder| (folder, contexts)),
            };
            export::export(&run, &wanted, memory_limit.as_deref())
        }
        Command::Report { run, out, beside } => report::report(&run, out.as_deref(), beside.as_deref()),
        Command::Doctor { flow, tokens, json } => doctor::doctor(&flow, tokens, json),
        Command::Diff { a, b } => {
            let same = diff::diff(&a, &b, &mut Output(std::io::stdout()))?;
            Ok(ExitCode::from(u8::from(!same)))
        }
        Command::Merge { runs, out, memory_limit, json } => merge::merge(&runs, &out, memory_limit.as_deref(), json),
        Command::Activations { model, compute, tokens, hookpoints, out } => {
            let model = fetch::fetch(&model, Want::Weights, Console::new(false, false))?;
            activations::activations(&model, compute.compute(), &tokens, &hookpoints, &out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Encode { sae, input, tensor, out, decode, format, compute } => {
            let voice = Console::new(false, false);
            let sae = fetch::fetch(&sae, Want::Sae, voice)?;
            if let Some(warning) =
                encode::encode(&sae, &input, tensor.as_deref(), &out, decode, format, compute.compute())?
            {
                voice.warn(&warning);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
