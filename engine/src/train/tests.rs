//! Training on small corpora of our own making, and on the shared ones where they are at hand.

use super::*;
use cordon_model::units::Milli;
use evaluate::counts;

fn judged(figures: &[(bool, i64)]) -> Vec<Judged> {
    figures
        .iter()
        .map(|(is_attacker, figure)| Judged { is_attacker: *is_attacker, log_odds: Milli(*figure) })
        .collect()
}

#[test]
fn bounds_leave_out_what_they_say() {
    let mut all: Vec<(bool, i64)> = (0..1_000).map(|figure| (false, figure)).collect();
    all.extend([(true, 2_000), (true, 997), (true, 3)]);
    let all = judged(&all);
    let Bounds { likely, sure } = bounds(&all);
    // One in 200 is five; 31 % of three attackers is the first of them.
    assert_eq!((likely, sure), (Milli(995), Milli(2_000)));
    assert_eq!((counts(&all, likely), counts(&all, sure)), ((2, 5), (1, 0)));
    let weak = judged(&[(false, 9), (false, 1), (true, 5)]);
    assert_eq!(bounds(&weak), Bounds { likely: Milli(10), sure: Milli(10) }, "never below the lower one");
}

#[test]
fn a_point_counts_what_reaches_it() {
    let point = Point::at(&judged(&[(true, 5), (true, 3), (false, 4), (false, 1), (false, 0)]), Milli(3));
    assert_eq!((point.recall.count, point.recall.of), (2, 2));
    assert_eq!((point.precision.count, point.precision.of), (2, 3));
    assert_eq!((point.false_alarms_per_100k.count, point.false_alarms_per_100k.of), (1, 3));
    assert_eq!(point.f1.to_string(), "0.800");
    let curve = Point::curve(&judged(&[(true, 5), (true, 3), (false, 4)]));
    assert_eq!(curve.iter().map(|point| point.log_odds.0).collect::<Vec<_>>(), [5, 4, 3]);
}

/// A code that looks like nothing but itself: 60 instructions by the digits of a number, around a call or a log.
fn code(number: u64, is_attackers: bool) -> String {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    for _ in 0..30 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Arithmetic and comparisons, 0x01 to 0x1d without holes.
        text.push_str(&format!("{:02x}", 1 + (state >> 33) % 11));
        text.push_str(if is_attackers { "32f1" } else { "a155" });
    }
    text
}

fn corpus(attackers: u64) -> (tempfile::TempDir, TrainingSet) {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..attackers {
        std::fs::write(folder.path().join(format!("{number}.evm")), code(number, true)).unwrap();
    }
    let set = TrainingSet { attackers: vec![folder.path().to_owned()], benign: Vec::new() };
    (folder, set)
}

#[test]
fn too_little_to_learn_from_is_refused_with_what_there_is() {
    let (_folder, set) = corpus(3);
    let error = bytecode(&set, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("ordinary codes: found '0'"), "{error}");
    let missing = TrainingSet { attackers: vec!["/nowhere/at/all".into()], ..TrainingSet::default() };
    assert!(bytecode(&missing, &|_| ()).is_err());
}

#[test]
fn files_of_code_are_read_and_what_is_none_is_named() {
    let (folder, set) = corpus(4);
    std::fs::write(folder.path().join("copy.evm"), format!("0x{}\n", code(1, true))).unwrap();
    std::fs::write(folder.path().join("short.evm"), "6001").unwrap();
    std::fs::write(folder.path().join("wrong.evm"), "0xzz").unwrap();
    std::fs::write(folder.path().join("other.bin"), "").unwrap();
    let read = Corpus::gathered(&set, &|_| ()).unwrap();
    assert_eq!(read.codes.len(), 4);
    assert_eq!((read.found[&Origin::File], read.left_out), (6, 2));
    assert_eq!(read.unused.len(), 2, "{:?}", read.unused);
    assert!(read.unused.iter().any(|line| line.contains("wrong.evm: no hexadecimal code")));
}

/// Two kinds of code that do different things are told apart also where their families are left out.
#[test]
fn what_tells_attackers_is_learned_and_holds_for_others() {
    let (_folder, set) = corpus(20);
    let mut corpus = Corpus::gathered(&set, &|_| ()).unwrap();
    for number in 0..60u64 {
        let ordinary = alloy_primitives::hex::decode(code(1_000 + number, false)).unwrap();
        corpus.take_for_test(&ordinary);
    }
    let families = families(&corpus.codes);
    assert_eq!(families.iter().collect::<std::collections::BTreeSet<_>>().len(), 80, "none is like another");
    let judged = cross_validated(&corpus.codes, &families, &|_| ());
    assert_eq!(counts(&judged, Milli(0)), (20, 0));
    assert!(later_in_time(&corpus.codes, &families).is_none(), "no dates");
}

/// The shared data, if it is at hand.
fn shared() -> Option<PathBuf> {
    let default = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let data = std::env::var_os("CORDON_SHARED").map_or_else(default, PathBuf::from).join("data");
    if !data.is_dir() {
        eprintln!("skipped: no shared data at {}", data.display());
        return None;
    }
    Some(data)
}

/// The model that is shipped, on codes that it was trained on: reading, features and weights belong together.
#[test]
fn the_shipped_model_knows_the_attackers_it_was_shown() {
    let Some(shared) = shared() else { return };
    let set = TrainingSet { attackers: vec![shared.join("bytecode/attacker")], ..TrainingSet::default() };
    let corpus = Corpus::gathered(&set, &|_| ()).unwrap();
    assert!(corpus.codes.len() >= 25, "{} codes, {:?}", corpus.codes.len(), corpus.unused);
    let model = Model::shipped().unwrap();
    let is_likely = |code: &&corpus::Code| model.judge(&code.features).log_odds >= model.bounds.likely;
    let likely = corpus.codes.iter().filter(is_likely).count();
    // Of codes that it had not seen it found this share when it was cross-validated.
    let unseen = (model.tested.likely_attackers, model.trained.attackers);
    let [likely, all] = [likely, corpus.codes.len()].map(|count| u64::try_from(count).unwrap());
    assert!(likely * unseen.1 >= unseen.0 * all, "{likely} of {all}, and of unseen ones {unseen:?}");
}
