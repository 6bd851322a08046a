//! The arguments, and the help that teaches them.
//!
//! In: nothing. Out: types that clap fills. Every command's help says what it needs, what it prints, and what its exit
//! codes mean.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Exit codes, the same for every command.
const EXIT_CODES: &str = "\
Exit codes:
  0  done, and what was checked holds
  1  an unexpected failure (the message says what was tried)
  2  the command line is wrong
  3  the configuration is wrong (the message names key, value and what was expected)
  4  the node cannot be used (unreachable, wrong chain, lying)
  5  the answer is no: a replay mismatch, a refused fix, a drill that did not end as it should, a decision that does
     not fit the incident
  6  a file or folder cannot be used (archive, artifact, keystore, event log, folder for reports)

Diagnostics go to standard error; CORDON_LOG=debug shows more of them.";

/// On-chain incident management: watch, replay, detect, contain, investigate, fix, reimburse.
#[derive(Debug, Parser)]
#[command(name = "cordon", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cordon {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play a whole incident on a chain inside this process: no node, no key, no service needed.
    ///
    /// Honest users transact, an attacker strikes, and Cordon watches the same chain through the same engine that
    /// `watch` uses. The timeline is printed as it happens; at the end drill-report.md and drill-report.json are
    /// written. The same seed gives the same bytes.
    Drill(Drill),
    /// Watch a chain and act as the configuration allows. Runs until interrupted.
    ///
    /// Without a granted lever nothing is ever sent: Cordon observes, simulates and tells people.
    Watch(WithConfig),
    /// Judge a range of past blocks as `watch` would have, and print the incidents that would have been opened.
    ///
    /// Nothing is recorded, told or sent. The node must hold the state before the first block.
    Backfill(Backfill),
    /// Execute archived blocks again and compare gas and status with what the chain recorded.
    ///
    /// PATH is a block file (cordon-block/1, zstd-compressed JSON) or a folder of them.
    Replay(Replay),
    /// Count how many recorded attacks the detectors see, and how many ordinary transactions alarm them.
    ///
    /// PATH is a recording or a folder of them: blocks (cordon-block/1) and call trees of single transactions (the JSON of
    /// callTracer), both Zstandard-compressed, and histories of protocols (zip). A node's blocks can be judged as ordinary use with
    /// --rpc. Nothing but rules is configured: everybody but the sender counts as protected, and an alarm is what would open an
    /// incident at the defaults.
    ///
    /// With --out the report is written as report.json, report.md and report.html, and each verdict is kept in verdicts.jsonl as
    /// it is reached: the same command goes on where it was cut off.
    Backtest(Backtest),
    /// Find thresholds that keep the false alarms you allow, from what `watch` has recorded of your own protocols.
    ///
    /// Needs a log that `watch` wrote, in which every incident was closed or called a false alarm. Prints what each
    /// threshold would have done, and writes the file that [calibration] names; `watch` goes by it from its next start on.
    Calibrate(Calibrate),
    /// Attacks that are known, so that their imitators are known again.
    #[command(subcommand)]
    Signatures(Signatures),
    /// Measure what the product costs, each figure as a ratio within one run.
    #[command(subcommand)]
    Bench(Bench),
    /// Learn from recordings what detectors go by, and say how well that does on what was left out.
    #[command(subcommand)]
    Train(Train),
    /// Explain one transaction: decoded calls, movements of value, profit and loss.
    Inspect(Inspect),
    /// Read incidents from the event log, and decide about them, also while `watch` runs on the same log.
    #[command(subcommand)]
    Incident(Incident),
    /// Judge fixes.
    #[command(subcommand)]
    Fix(Fix),
    /// Check a configuration without touching the network, and say what is wrong where.
    ///
    /// The files that it names must be there: artifacts, keystores and password files.
    Check(WithConfig),
}

/// `cordon drill`
#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// Scenario to play; see --list.
    #[arg(default_value = "donation-reentrancy")]
    pub(crate) scenario: String,
    /// List the scenarios and stop.
    #[arg(long)]
    pub(crate) list: bool,
    /// Show the undefended run: the same scenario and seed, nobody watching.
    #[arg(long)]
    pub(crate) without_cordon: bool,
    /// Print events as JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Seed of everything that varies; the same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for drill-report.md and drill-report.json; it is made where its parent exists.
    #[arg(long, default_value = ".")]
    pub(crate) out: PathBuf,
}

/// A command that reads a configuration.
#[derive(Debug, Args)]
pub(crate) struct WithConfig {
    /// Configuration file.
    #[arg(long, default_value = "cordon.toml")]
    pub(crate) config: PathBuf,
}

/// `cordon backfill`
#[derive(Debug, Args)]
pub(crate) struct Backfill {
    /// Configuration file.
    #[arg(long, default_value = "cordon.toml")]
    pub(crate) config: PathBuf,
    /// Chain id, where the configuration names several.
    #[arg(long)]
    pub(crate) chain: Option<u64>,
    /// First block.
    #[arg(long)]
    pub(crate) from: u64,
    /// Last block.
    #[arg(long)]
    pub(crate) to: u64,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon replay`
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Block file or folder.
    pub(crate) path: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon backtest`
#[derive(Debug, Args)]
pub(crate) struct Backtest {
    /// Recordings of which each is an attack.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) attacks: Vec<PathBuf>,
    /// Recordings of ordinary transactions.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) benign: Vec<PathBuf>,
    /// Classes of the attacks in somebody's words: lines `transaction hash,class`. They sort the report and nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Rule files to judge by as well; the report says of every rule how often it held.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
    /// Node URL: its blocks from --from to --to are judged as ordinary use; it must hold the state before the first one.
    #[arg(long, value_name = "URL", requires_all = ["from", "to"])]
    pub(crate) rpc: Option<String>,
    /// Hardfork by name, for chains whose schedule is not built in.
    #[arg(long, value_name = "NAME", requires = "rpc")]
    pub(crate) hardfork: Option<String>,
    /// First block.
    #[arg(long, value_name = "N", requires = "rpc")]
    pub(crate) from: Option<u64>,
    /// Last block.
    #[arg(long, value_name = "N", requires = "rpc")]
    pub(crate) to: Option<u64>,
    /// Folder for the report and the verdicts; it is made where its parent exists.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Signature files to judge by as well. Those of the very attacks that are judged prove nothing; see `signatures evaluate`.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) signatures: Vec<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon calibrate`
#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// Configuration file.
    #[arg(long, default_value = "cordon.toml")]
    pub(crate) config: PathBuf,
    /// Count incidents of which nobody has said what they were as false alarms.
    #[arg(long)]
    pub(crate) count_undecided: bool,
    /// Print what would be written, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon signatures`
#[derive(Debug, Subcommand)]
pub(crate) enum Signatures {
    /// Make signatures of incidents in the log, or of recorded attacks, for the detector `known-attack`.
    ///
    /// From the log all incidents give signatures that people closed as real; one that they called a false alarm gives none. The log
    /// says which transactions the attack was, and the node executes them again. Look through the file before it is used or given away.
    Learn(SignaturesLearn),
    /// Measure how well recorded attacks are recognised by others, and how often ordinary use is taken for one of them.
    ///
    /// No attack is recognised by itself, by another of its incident, or against the same victim. INCIDENTS has lines
    /// `transaction hash,date,incident,victim`, with YYYYMM or YYYYMMDD as date.
    Evaluate(SignaturesEvaluate),
}

/// `cordon signatures learn`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["store", "recording"]))]
pub(crate) struct SignaturesLearn {
    /// Event log.
    #[arg(long, value_name = "FILE", requires = "rpc")]
    pub(crate) store: Option<PathBuf>,
    /// Only this incident, as `incident list` prints it, closed or not.
    #[arg(long, requires = "store")]
    pub(crate) incident: Option<String>,
    /// Node URL; the node must still hold the states before the attacks.
    #[arg(long, requires = "store")]
    pub(crate) rpc: Option<String>,
    /// Hardfork by name, for chains whose schedule is not built in.
    #[arg(long, requires = "store")]
    pub(crate) hardfork: Option<String>,
    /// Recordings of which each is an attack.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) recording: Vec<PathBuf>,
    /// Where to write the signatures.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// `cordon signatures evaluate`
#[derive(Debug, Args)]
pub(crate) struct SignaturesEvaluate {
    /// Recordings of which each is an attack.
    #[arg(long, num_args = 1.., value_name = "PATH", required = true)]
    pub(crate) attacks: Vec<PathBuf>,
    /// Recordings of ordinary transactions.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) benign: Vec<PathBuf>,
    /// When the attacks were, under which name, and against whom. Without it, none is certain to be earlier than another.
    #[arg(long, value_name = "FILE")]
    pub(crate) incidents: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon bench`
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Replay with all facts against bare revm, on the blocks of an archive and on adversarial ones.
    ///
    /// Every mode runs on every block in every round, timed by the thread's own clock. A run whose spread is above 1.3
    /// says that it cannot be judged; build with --release, or the ratios mean nothing.
    Replay(BenchReplay),
    /// Judging by detectors and rules against bare revm, on the modern blocks of an archive, with every account protected.
    ///
    /// As `bench replay`: interleaved, timed by the thread's own clock, only with --release, only where the spread is low.
    Detect(BenchReplay),
    /// What a fork costs beside a copy, and how many what-ifs fit into a second, on the largest block of an archive.
    Forks(BenchForks),
    /// What reading a node's state takes: cold reads per block and waits per transaction, with and without reading ahead.
    Cold(BenchCold),
}

/// `cordon train`
#[derive(Debug, Subcommand)]
pub(crate) enum Train {
    /// Learn to tell attackers' contracts from others by their code, for the detector `new-contract`.
    ///
    /// Codes of attackers are hexadecimal text (files named .evm), contracts that the sender's side creates within attacks
    /// (trees of calls), and those that a state before an attack calls the attack's; ordinary codes are those that blocks run.
    /// Families of similar codes are never split between learning and testing. The same files give the same model.
    Bytecode(TrainBytecode),
}

/// `cordon train bytecode`
#[derive(Debug, Args)]
pub(crate) struct TrainBytecode {
    /// Codes and recordings of attacks.
    #[arg(long, num_args = 1.., required = true, value_name = "PATH")]
    pub(crate) attackers: Vec<PathBuf>,
    /// Blocks with the codes that they ran.
    #[arg(long, num_args = 1.., required = true, value_name = "PATH")]
    pub(crate) benign: Vec<PathBuf>,
    /// Where to write the model.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon bench forks`
#[derive(Debug, Args)]
pub(crate) struct BenchForks {
    /// Block file or folder.
    pub(crate) path: PathBuf,
}

/// `cordon bench cold`
#[derive(Debug, Args)]
pub(crate) struct BenchCold {
    /// Node URL; the node must hold the state before the first block.
    #[arg(long)]
    pub(crate) rpc: String,
    /// Hardfork by name, for chains whose schedule is not built in.
    #[arg(long)]
    pub(crate) hardfork: Option<String>,
    /// First block.
    #[arg(long)]
    pub(crate) from: u64,
    /// Last block.
    #[arg(long)]
    pub(crate) to: u64,
}

/// `cordon bench replay`
#[derive(Debug, Args)]
pub(crate) struct BenchReplay {
    /// Block file or folder.
    pub(crate) path: PathBuf,
    /// Interleaved rounds.
    #[arg(long, default_value_t = cordon_engine::bench::DEFAULT_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon inspect`
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Transaction hash.
    pub(crate) tx: String,
    /// Node URL; the node must still hold the state before the transaction's block.
    #[arg(long)]
    pub(crate) rpc: String,
    /// Hardfork by name, for chains whose schedule is not built in.
    #[arg(long)]
    pub(crate) hardfork: Option<String>,
    /// Contract artifact or JSON ABI whose functions, events and errors should be decoded; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) abi: Vec<PathBuf>,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon incident`
#[derive(Debug, Subcommand)]
pub(crate) enum Incident {
    /// One line per incident.
    List(IncidentList),
    /// One incident with its whole log.
    Show(IncidentShow),
    /// Allow a plan that waits or that the policy refused; a watcher on the same log then carries it out.
    Approve(IncidentApprove),
    /// Close an incident that is no attack.
    FalseAlarm(IncidentEnd),
    /// Close an incident that is done.
    Close(IncidentEnd),
}

/// `cordon incident approve`
#[derive(Debug, Args)]
pub(crate) struct IncidentApprove {
    /// Incident, as `incident list` prints it.
    pub(crate) id: String,
    /// Plan, as `incident show` prints it (such as pln-02c2a115), or its full hash.
    pub(crate) plan: String,
    /// Who decides. It is recorded as given: whoever may write the event log may decide.
    #[arg(long, value_name = "NAME")]
    pub(crate) by: String,
    /// Why, one sentence.
    #[arg(long, value_name = "TEXT", default_value = "approved on the command line")]
    pub(crate) why: String,
    /// Event log.
    #[arg(long, default_value = "cordon.sqlite")]
    pub(crate) store: PathBuf,
}

/// `cordon incident false-alarm` and `cordon incident close`
#[derive(Debug, Args)]
pub(crate) struct IncidentEnd {
    /// Incident, as `incident list` prints it.
    pub(crate) id: String,
    /// Who decides. It is recorded as given: whoever may write the event log may decide.
    #[arg(long, value_name = "NAME")]
    pub(crate) by: String,
    /// Why, one sentence.
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: String,
    /// Event log.
    #[arg(long, default_value = "cordon.sqlite")]
    pub(crate) store: PathBuf,
}

/// `cordon incident list`
#[derive(Debug, Args)]
pub(crate) struct IncidentList {
    /// Event log.
    #[arg(long, default_value = "cordon.sqlite")]
    pub(crate) store: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon incident show`
#[derive(Debug, Args)]
pub(crate) struct IncidentShow {
    /// Incident, as `incident list` prints it.
    pub(crate) id: String,
    /// Event log.
    #[arg(long, default_value = "cordon.sqlite")]
    pub(crate) store: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cordon fix`
#[derive(Debug, Subcommand)]
pub(crate) enum Fix {
    /// Prove a fixed implementation on a fork, or refuse it by rule.
    ///
    /// The candidate is installed behind the proxy on a fork; the attack is replayed on the state before it (it must
    /// take nothing) and honest transactions are replayed (they must behave the same); the storage layouts are
    /// compared. A proven fix is written as an upgrade plan.
    Verify(FixVerify),
}

/// `cordon fix verify`
#[derive(Debug, Args)]
pub(crate) struct FixVerify {
    /// Configuration file.
    #[arg(long, default_value = "cordon.toml")]
    pub(crate) config: PathBuf,
    /// Incident that the fix is for, as `incident list` prints it.
    #[arg(long)]
    pub(crate) incident: String,
    /// Artifact of the fixed implementation.
    #[arg(long)]
    pub(crate) artifact: PathBuf,
    /// Artifact of the implementation that is live now.
    #[arg(long)]
    pub(crate) live: PathBuf,
    /// UUPS proxy to upgrade.
    #[arg(long)]
    pub(crate) proxy: String,
    /// Account that may upgrade.
    #[arg(long)]
    pub(crate) upgrader: String,
    /// Calldata run by the proxy within the upgrade, 0x-prefixed.
    #[arg(long, default_value = "0x")]
    pub(crate) init: String,
    /// Where to write the upgrade plan of a proven fix.
    #[arg(long, default_value = "fix-plan.json")]
    pub(crate) out: PathBuf,
    /// Print the judgement as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
