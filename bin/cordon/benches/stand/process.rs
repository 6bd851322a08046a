//! What a process costs, as Linux says: processor time and memory.
//!
//! In: a process id. Out: milliseconds and kilobytes. Needs `/proc`; elsewhere the benches stop with a message.

/// Processor time is told in hundredths of a second (`USER_HZ`, fixed for all user space on Linux).
const TICK_MS: u64 = 10;

/// Resident memory in kilobytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// All of it, code and mapped files included.
    pub(crate) rss_kb: u64,
    /// Heap and stacks.
    pub(crate) anonymous_kb: u64,
}

/// Processor time of all threads since the start of the process, those that ended included.
pub(crate) fn cpu_ms(pid: u32) -> u64 {
    let text = read(pid, "stat");
    // The name may hold spaces and brackets; after its last bracket the state is field 3, user time 14, system time 15.
    let (_, rest) = text.rsplit_once(')').expect("stat has a name in brackets");
    let mut times = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().unwrap());
    (times.next().unwrap() + times.next().unwrap()) * TICK_MS
}

/// Memory of the process now.
pub(crate) fn memory(pid: u32) -> Memory {
    let text = read(pid, "status");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    Memory { rss_kb: field("VmRSS:"), anonymous_kb: field("RssAnon:") }
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs, and this is Linux")
}
