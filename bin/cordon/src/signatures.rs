//! `cordon signatures`: learn from known attacks, and measure what that gives.
//!
//! In: parsed arguments. Out: a signature file, and lines or JSON on standard output. Must never: write a file that holds nothing.

use crate::args::{Signatures, SignaturesEvaluate, SignaturesLearn};
use crate::commands::{say, say_json, teller, write};
use anyhow::{Context, Result};
use cordon_engine::EngineError;
use cordon_engine::signatures::{
    Incidents, Learned, Source, evaluate, learn_from_log, learn_from_recordings,
};
use std::path::Path;
use std::process::ExitCode;

/// Carries out a command.
pub(crate) async fn run(arguments: Signatures) -> Result<ExitCode> {
    match arguments {
        Signatures::Learn(arguments) => learn(arguments).await,
        Signatures::Evaluate(arguments) => measure(arguments).await,
    }
}

async fn learn(arguments: SignaturesLearn) -> Result<ExitCode> {
    let SignaturesLearn { store, incident, rpc, hardfork, recording, out } = arguments;
    let learned: Learned = match (store, rpc) {
        (Some(store), Some(rpc)) => learn_from_log(&Source { store, incident, rpc, hardfork }).await?,
        _ => {
            let tell = teller();
            let work = tokio::task::spawn_blocking(move || learn_from_recordings(&recording, &tell));
            work.await.context("reading recordings")??
        }
    };
    learned.lines().iter().try_for_each(|line| say(line))?;
    if learned.file.signatures.is_empty() {
        return Err(EngineError::Refused("nothing was learned, and nothing is written".to_owned()).into());
    }
    let json = serde_json::to_string_pretty(&learned.file).context("serialising the signatures")?;
    write(&out, &(json + "\n"))?;
    say(&format!("{} signatures in '{}'", learned.file.signatures.len(), out.display()))?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: SignaturesEvaluate) -> Result<ExitCode> {
    let SignaturesEvaluate { attacks, benign, incidents, json } = arguments;
    let incidents = incidents.map_or_else(|| Ok(Incidents::default()), |path| read_incidents(&path))?;
    let tell = teller();
    let work = tokio::task::spawn_blocking(move || evaluate(&attacks, &benign, &incidents, &tell));
    let found = work.await.context("comparing recordings")??;
    if json {
        say_json(&found)?
    } else {
        found.lines().iter().try_for_each(|line| say(line))?
    }
    Ok(ExitCode::SUCCESS)
}

fn read_incidents(path: &Path) -> Result<Incidents> {
    let failed = |source| EngineError::File { doing: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Incidents::parse(&text).map_err(|why| anyhow::anyhow!("incidents in '{}': {why}", path.display()))
}
