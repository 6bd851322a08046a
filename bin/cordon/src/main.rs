//! The command line of Cordon: parse, call the engine, print.
//!
//! In: arguments. Out: text or JSON on standard output, diagnostics on standard error, and an exit code from the
//! table in `--help`. Must never hold logic of its own: what a command does is in the engine.

mod args;
mod commands;
mod signatures;

use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = args::Cordon::parse();
    // A watcher's diary is of interest; every other command says on standard output what it has to say.
    let default =
        if matches!(arguments.command, args::Command::Watch(_)) { "cordon=info,warn" } else { "warn" };
    let mut filter = tracing_subscriber::EnvFilter::try_from_env("CORDON_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    // The node client writes whole URLs, keys included, into its debug spans; no wish for detail may bring them out.
    for target in ["alloy_transport_http=info", "alloy_rpc_client=info", "hyper_util=info", "reqwest=info"] {
        if let Ok(directive) = target.parse() {
            filter = filter.add_directive(directive);
        }
    }
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match commands::run(arguments).await {
        Ok(outcome) => outcome,
        Err(error) if commands::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            commands::complain(&error);
            commands::exit_code(&error)
        }
    }
}
