//! One function per command: call the engine, print what it says, choose the exit code.
//!
//! In: parsed arguments. Out: text or JSON lines on standard output. Must never print a secret or a node's URL.

use crate::args::{
    Backfill, Backtest, Bench, BenchReplay, Calibrate, Command, Cordon, Drill, Fix, Incident, IncidentEnd,
    Inspect, Replay, Train, TrainBytecode, WithConfig,
};
use anyhow::{Context, Result};
use cordon_engine::backtest::{Corpus, Labels, NodeRange, Progress, REPORT_FILES, Settings};
use cordon_engine::drill::{self, DrillEvent, Verdict};
use cordon_engine::incidents::{Decree, Ruling};
use cordon_engine::train::TrainingSet;
use cordon_engine::{
    Config, EngineError, FixRequest, Kind, archive, backfill, bench, calibrate, incidents, inspect, train,
    watch,
};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The answer is no.
const REFUSED: u8 = 5;

/// Shortest time between two lines that say how far a back-test is: often enough to see that it goes on.
const PROGRESS_PAUSE: Duration = Duration::from_secs(3);

/// Files that a drill leaves.
const DRILL_REPORTS: [&str; 2] = ["drill-report.json", "drill-report.md"];

/// Carries out a command.
pub(crate) async fn run(arguments: Cordon) -> Result<ExitCode> {
    match arguments.command {
        Command::Drill(arguments) => play(arguments).await,
        Command::Watch(arguments) => follow(&arguments).await,
        Command::Replay(arguments) => replay(arguments).await,
        Command::Backfill(arguments) => look_back(arguments).await,
        Command::Backtest(arguments) => judge_recordings(arguments).await,
        Command::Calibrate(arguments) => find_thresholds(&arguments).await,
        Command::Signatures(arguments) => crate::signatures::run(arguments).await,
        Command::Bench(arguments) => measure(arguments).await,
        Command::Train(Train::Bytecode(arguments)) => learn(arguments).await,
        Command::Inspect(arguments) => explain(&arguments).await,
        Command::Incident(arguments) => incident(arguments).await,
        Command::Fix(Fix::Verify(arguments)) => verify(arguments).await,
        Command::Check(arguments) => check(&arguments),
    }
}

/// Reads incidents, or records what a person decides about one.
async fn incident(arguments: Incident) -> Result<ExitCode> {
    match arguments {
        Incident::List(arguments) => {
            let found = incidents::all(&arguments.store).await?;
            if arguments.json {
                say_json(&found)?;
            } else if found.is_empty() {
                say("no incidents")?;
            } else {
                found.iter().try_for_each(|dossier| say(&dossier.line()))?;
            }
        }
        Incident::Show(arguments) => {
            let dossier = incidents::one(&arguments.store, &arguments.id).await?;
            if arguments.json { say_json(&dossier)? } else { say(&dossier.lines().join("\n"))? }
        }
        Incident::Approve(arguments) => {
            let (ruling, by) = (Ruling::Approve { plan: arguments.plan }, arguments.by);
            let decree = Decree { ruling, by, why: arguments.why };
            say(&incidents::decide(&arguments.store, &arguments.id, &decree).await?.line())?;
        }
        Incident::FalseAlarm(arguments) => end(arguments, Ruling::FalseAlarm).await?,
        Incident::Close(arguments) => end(arguments, Ruling::Close).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn end(arguments: IncidentEnd, ruling: Ruling) -> Result<()> {
    let decree = Decree { ruling, by: arguments.by, why: arguments.why };
    say(&incidents::decide(&arguments.store, &arguments.id, &decree).await?.line())
}

/// Whether the reader of standard output has left, as `head` does: it has what it wanted. Errors of the engine do not
/// count, since a connection can break as well.
pub(crate) fn reader_left(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Says on standard error what went wrong, with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    // If standard error is gone there is nobody left to tell.
    let _gone = writeln!(std::io::stderr(), "{text}");
}

/// The exit code of a failure; see `cordon --help`.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = match error.downcast_ref::<EngineError>().map(EngineError::kind) {
        Some(Kind::Usage) => 2,
        Some(Kind::Config) => 3,
        Some(Kind::Node) => 4,
        Some(Kind::Refused) => REFUSED,
        Some(Kind::File) => 6,
        Some(Kind::Failure) | None => 1,
    };
    ExitCode::from(code)
}

pub(crate) fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("writing to standard output")
}

pub(crate) fn say_json(value: &impl serde::Serialize) -> Result<()> {
    say(&serde_json::to_string(value).context("serialising the answer")?)
}

async fn play(arguments: Drill) -> Result<ExitCode> {
    if arguments.list {
        drill::scenarios().iter().try_for_each(|(name, what)| say(&format!("{name}\n    {what}")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let scenario = drill::scenario(&arguments.scenario)?;
    prepare(&arguments.out, &DRILL_REPORTS)?;
    let chosen = drill::Drill { scenario, seed: arguments.seed, defended: !arguments.without_cordon };
    let mut failed = None;
    let report = drill::run(chosen, &mut |event: DrillEvent| {
        let told = if arguments.json { say_json(&event) } else { say(&drill::text(&event)) };
        failed = failed.take().or(told.err());
    })
    .await?;
    let json = serde_json::to_string_pretty(&report).context("serialising the report")?;
    for (name, text) in DRILL_REPORTS.into_iter().zip([json, report.markdown()]) {
        write(&arguments.out.join(name), &text)?;
    }
    // The reports are the result; who read only the beginning of the story still gets them.
    if let Some(error) = failed.filter(|error| !reader_left(error)) {
        return Err(error);
    }
    if let Some((block, took)) = report.slowest {
        // Wall-clock time differs from run to run, so it stays out of everything that must not.
        let told = format!(
            "slowest block of this run: {block}, {} ms from its arrival to the end of the response",
            took.as_millis()
        );
        let _gone = writeln!(std::io::stderr(), "{told}");
    }
    Ok(match report.verdict {
        Verdict::AsExpected => ExitCode::SUCCESS,
        Verdict::Unexpected(_) => ExitCode::from(REFUSED),
    })
}

/// Finds out beforehand whether reports can be written, and leaves nothing but the folder.
fn prepare(folder: &Path, reports: &[&str]) -> Result<()> {
    let failed = |doing, path: &Path, source| EngineError::File { doing, path: path.to_owned(), source };
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => {
            let source = ErrorKind::NotADirectory.into();
            return Err(failed("write reports to", folder, source).into());
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir(folder).map_err(|source| failed("create the folder", folder, source))?;
        }
        Err(source) => return Err(failed("write reports to", folder, source).into()),
    }
    for path in reports.iter().map(|name| folder.join(name)) {
        let is_new = !path.exists();
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        opened.map_err(|source| failed("write", &path, source))?;
        if is_new {
            std::fs::remove_file(&path).map_err(|source| failed("write", &path, source))?;
        }
    }
    Ok(())
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |source| EngineError::File { doing: "write", path: path.to_owned(), source };
    Ok(std::fs::write(path, text).map_err(failed)?)
}

async fn follow(arguments: &WithConfig) -> Result<ExitCode> {
    let configs = Config::load(&arguments.config).map_err(EngineError::from)?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        interrupted().await;
        stop.send_replace(true);
        // Keeps the channel open, so that the loop sees the value and not a closed channel.
        std::future::pending::<()>().await;
    });
    let print = |line: String| {
        let _gone = writeln!(std::io::stdout().lock(), "{line}");
    };
    watch::watch(&configs, Box::new(print), stopped).await?;
    Ok(ExitCode::SUCCESS)
}

/// Resolves on SIGINT or SIGTERM.
async fn interrupted() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! { _ = interrupt => {}, _ = terminate.recv() => {} }
            return;
        }
        let _lost = tokio::signal::ctrl_c().await;
    }
    #[cfg(not(unix))]
    let _lost = interrupt.await;
}

async fn replay(arguments: Replay) -> Result<ExitCode> {
    let path = arguments.path;
    let report = tokio::task::spawn_blocking(move || archive::replay(&path)).await.context("replaying")??;
    if arguments.json {
        say_json(&report)?;
    } else {
        report.details.iter().try_for_each(|line| say(line))?;
        if report.files_skipped > 0 {
            say(&format!("{} files of another format passed over", report.files_skipped))?;
        }
        let (blocks, transactions, mismatches) = (report.blocks, report.transactions, report.mismatches);
        say(&format!("{blocks} blocks, {transactions} transactions, {mismatches} mismatches"))?;
    }
    Ok(if report.mismatches == 0 { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// Judges recordings and blocks of a node. That attacks were missed is a finding, and no failure of the command.
async fn judge_recordings(arguments: Backtest) -> Result<ExitCode> {
    let Backtest { attacks, benign, labels, rules, signatures, rpc, hardfork, from, to, out, json } =
        arguments;
    let range = match (rpc, from, to) {
        (Some(rpc), Some(from), Some(to)) => Some(NodeRange { rpc, hardfork, blocks: from..=to }),
        _ => None,
    };
    if attacks.is_empty() && benign.is_empty() && range.is_none() {
        anyhow::bail!("nothing to judge: name --attacks PATH, --benign PATH, --rpc URL, or several of them");
    }
    let labels = labels.map_or_else(|| Ok(Labels::default()), |path| read_labels(&path))?;
    if let Some(folder) = &out {
        prepare(folder, &REPORT_FILES)?;
    }
    let corpus = Corpus { attacks, benign, labels, rules, signatures };
    let settings = Settings { out: out.clone(), threads: None };
    let tell = Arc::new(teller());
    let told = Arc::clone(&tell);
    let work = tokio::task::spawn_blocking(move || {
        let mut run = cordon_engine::backtest::Backtest::open(&corpus, &settings, &*told)?;
        run.files(&*told)?;
        Ok::<_, EngineError>(run)
    });
    let mut run = work.await.context("judging recordings")??;
    if let Some(range) = &range {
        run.node(range, &*tell).await?;
    }
    let report = run.report();
    if let Some(folder) = &out {
        for (name, text) in REPORT_FILES.into_iter().zip(report.files()?) {
            write(&folder.join(name), &text)?;
        }
    }
    if json {
        say_json(&report)?
    } else {
        report.lines().iter().try_for_each(|line| say(line))?
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error how far a command over many recordings is.
pub(crate) fn teller() -> impl Fn(Progress) + Send + Sync + 'static {
    let last = Mutex::new(Instant::now());
    move |progress: Progress| {
        let line = match progress {
            Progress::Note(note) => note,
            Progress::Judged { done, all } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if done != all && last.elapsed() < PROGRESS_PAUSE {
                    return;
                }
                *last = Instant::now();
                format!("{done} of {all} recordings judged")
            }
        };
        // Whoever does not read the progress still gets the report.
        let _gone = writeln!(std::io::stderr(), "{line}");
    }
}

/// That a budget cannot be shown to be kept is an answer, and no failure of the command.
async fn find_thresholds(arguments: &Calibrate) -> Result<ExitCode> {
    let configs = Config::load(&arguments.config).map_err(EngineError::from)?;
    let report = calibrate::calibrate(&configs, arguments.count_undecided).await?;
    if arguments.json {
        say_json(&report)?
    } else {
        say(&report.lines().join("\n"))?
    }
    let file = configs.first().map(|config| &config.calibration.file).filter(|_| !arguments.dry_run);
    if let Some(file) = file {
        let text = report.file().map_err(anyhow::Error::msg).context("writing thresholds")?;
        // A watcher that starts meanwhile reads the old file or the new one, and never half of one.
        let new = file.with_extension("new");
        write(&new, &text)?;
        let failed = |source| EngineError::File { doing: "replace", path: file.clone(), source };
        std::fs::rename(&new, file).map_err(failed)?;
        let _gone = writeln!(std::io::stderr(), "written to {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn read_labels(path: &Path) -> Result<Labels> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading labels from '{}'", path.display()))?;
    Labels::parse(&text).map_err(|why| anyhow::anyhow!("labels in '{}': {why}", path.display()))
}

/// Figures of one run; those of forks and of cold state are JSON, one object.
async fn measure(arguments: Bench) -> Result<ExitCode> {
    match arguments {
        Bench::Replay(arguments) => return measure_replay(arguments).await,
        Bench::Detect(BenchReplay { path, rounds, json }) => {
            let work = tokio::task::spawn_blocking(move || bench::detect(&path, rounds));
            let report = work.await.context("measuring")??;
            if json { say_json(&report)? } else { say(&report.lines().join("\n"))? }
        }
        Bench::Forks(arguments) => say_json(&bench::forks(&arguments.path).await?)?,
        Bench::Cold(arguments) => {
            let range = arguments.from..=arguments.to;
            say_json(&bench::cold_reads(&arguments.rpc, arguments.hardfork.as_deref(), range).await?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure_replay(arguments: BenchReplay) -> Result<ExitCode> {
    let BenchReplay { path, rounds, json } = arguments;
    let work = tokio::task::spawn_blocking(move || bench::replay(&path, rounds));
    let report = work.await.context("measuring")??;
    if json {
        say_json(&report)?;
    } else {
        report.lines().iter().try_for_each(|line| say(line))?;
    }
    let is_right = report.checked.iter().all(|chain| chain.wrong == 0 && chain.blocks_left_out == 0);
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// Trains a model. How good it is decides nobody but the reader of the report.
async fn learn(arguments: TrainBytecode) -> Result<ExitCode> {
    let TrainBytecode { attackers, benign, out, json } = arguments;
    let progress = |line: &str| {
        let _gone = writeln!(std::io::stderr(), "{line}");
    };
    let set = TrainingSet { attackers, benign };
    let work = tokio::task::spawn_blocking(move || train::bytecode(&set, &progress));
    let (model, report) = work.await.context("training")??;
    let text = serde_json::to_string(&model).context("serialising the model")?;
    write(&out, &format!("{text}\n"))?;
    if json {
        say_json(&report)?
    } else {
        report.lines().iter().try_for_each(|line| say(line))?
    }
    Ok(ExitCode::SUCCESS)
}

async fn look_back(arguments: Backfill) -> Result<ExitCode> {
    let configs = Config::load(&arguments.config).map_err(EngineError::from)?;
    let mut progress = |blocks: u64| {
        let _gone = writeln!(std::io::stderr(), "{blocks} blocks judged");
    };
    let range = arguments.from..=arguments.to;
    let found = backfill::backfill(&configs, arguments.chain, range, &mut progress).await?;
    if arguments.json {
        say_json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    for incident in &found.incidents {
        let severity =
            incident.severity.map_or_else(|| "untriaged".to_owned(), |severity| severity.to_string());
        let protocol = cordon_engine::render::plain(&incident.protocol.0);
        say(&format!("{}  {severity}  protocol {protocol}", incident.id))?;
        for finding in &incident.findings {
            let (block, hash) = (finding.tx.block.number, finding.tx.hash);
            say(&format!("    block {block}  {hash}  {}  score {}", finding.class, finding.score))?;
        }
    }
    let (blocks, incidents, mismatches) = (found.blocks, found.incidents.len(), found.mismatches);
    say(&format!("{blocks} blocks judged, {incidents} incidents, {mismatches} blocks not reproduced"))?;
    Ok(ExitCode::SUCCESS)
}

async fn explain(arguments: &Inspect) -> Result<ExitCode> {
    let mut abis = Vec::new();
    for path in &arguments.abi {
        let failed = |source| EngineError::File { doing: "read", path: path.clone(), source };
        abis.push((path.display().to_string(), std::fs::read_to_string(path).map_err(failed)?));
    }
    let found = inspect::inspect(&arguments.tx, &arguments.rpc, arguments.hardfork.as_deref(), &abis).await?;
    if arguments.json {
        say_json(&found.report)?
    } else {
        say(&found.markdown())?
    }
    Ok(if found.gas_used == found.gas_used_on_chain { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

async fn verify(arguments: crate::args::FixVerify) -> Result<ExitCode> {
    let configs = Config::load(&arguments.config).map_err(EngineError::from)?;
    let request = FixRequest {
        incident: arguments.incident,
        artifact: arguments.artifact,
        live: arguments.live,
        proxy: arguments.proxy,
        upgrader: arguments.upgrader,
        init: arguments.init,
    };
    let remedy = cordon_engine::verify_fix(&configs, &request).await?;
    let told = if arguments.json {
        say_json(&remedy)
    } else {
        let (title, lines) = cordon_engine::render::remedy(&remedy);
        let lines: Vec<String> = lines.iter().map(|line| format!("\n    {line}")).collect();
        say(&format!("{title}{}", lines.concat()))
    };
    // The plan is written although nobody may be reading any more.
    if let Some(plan) = &remedy.plan {
        write(&arguments.out, &serde_json::to_string_pretty(plan).context("serialising the plan")?)?;
    }
    told?;
    Ok(if remedy.plan.is_some() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn check(arguments: &WithConfig) -> Result<ExitCode> {
    let configs = Config::load(&arguments.config).map_err(EngineError::from)?;
    for config in &configs {
        let (protocols, detectors) = (config.protocols.len(), config.detectors.len());
        let levers = config.protocols.iter().map(|protocol| protocol.capabilities.len()).sum::<usize>();
        let rules = match config.rule_count() {
            0 => String::new(),
            rules => format!(" {rules} rule(s),"),
        };
        let signatures = match config.signature_count() {
            0 => String::new(),
            signatures => format!(" {signatures} signature(s),"),
        };
        say(&format!(
            "'{}' is valid: chain {}, {protocols} protocol(s), {levers} lever(s), {detectors} detector(s),{rules}\
             {signatures} {} channel(s)",
            arguments.config.display(),
            config.chain.id,
            config.channels.len()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
