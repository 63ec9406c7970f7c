//! A panic in any thread of an engine ends the process: a crippled engine would look alive and move no packets
//! (promises H7).

use std::backtrace::Backtrace;

use udco_engine::output;
use udco_ipc::message_id;
use udco_sys::lines::{Level, MESSAGE_ID, Record, Value};

/// From here on, writes panics to the engine's log and ends the process with SIGABRT.
pub(crate) fn end_the_process() {
    std::panic::set_hook(Box::new(|panic| {
        // The standard panic message could block forever on its reader (faults B1).
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?").to_owned();
        let trace = Backtrace::capture();
        let report = format!("a bug: thread {name} {panic}\n{trace}");
        let mut record = Record::new(Level::Error, report);
        let id = Value::Text(message_id::ENGINE_BUG.into());
        record.fields.push((MESSAGE_ID, id));
        output::write_unless_busy(&record);
        std::process::abort();
    }));
}

/// Says that there is no memory left, before the process ends. An engine's line goes where its others do.
pub(crate) fn no_memory() {
    let report = match udco_sys::memory::limit() {
        Some(limit) => format!("nothing is left of {limit}, so this process ends: give it more"),
        None => {
            "the system has no memory left (vm.overcommit_memory), so this process ends".to_owned()
        }
    };
    output::write_unless_busy(&Record::new(Level::Error, report));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use rustix::process::{Resource, Rlimit, setrlimit};

    use crate::again;

    /// Makes a second run of this test panic.
    const PANICS: &str = "UDCO_TEST_PANICS";

    /// Makes a second run of this test use up its memory.
    const USES_UP: &str = "UDCO_TEST_USES_UP";

    #[test]
    fn an_end_without_memory_names_the_limit() {
        if std::env::var_os(USES_UP).is_some() {
            udco_sys::memory::before_the_end(super::no_memory);
            let limit = Rlimit {
                current: Some(256 << 20),
                maximum: Some(256 << 20),
            };
            setrlimit(Resource::As, limit).unwrap();
            // Down to the last kilobyte.
            let mut all = Vec::with_capacity(1 << 20);
            loop {
                all.push(vec![1_u8; 1 << 10]);
            }
        }
        let name = "panics::tests::an_end_without_memory_names_the_limit";
        let output = again::command(name, USES_UP).output().unwrap();
        let report = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "{report}");
        let words = "nothing is left of the memory limit of 256 MiB (LimitAS=, ulimit -v)";
        assert!(report.contains(words), "{report}");
    }

    #[test]
    fn a_panic_in_any_thread_ends_the_process() {
        if std::env::var_os(PANICS).is_some() {
            super::end_the_process();
            let _ = std::thread::spawn(|| panic!("on purpose")).join();
            return;
        }
        let name = "panics::tests::a_panic_in_any_thread_ends_the_process";
        let output = again::command(name, PANICS).output().unwrap();
        let report = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "{report}");
        assert!(report.contains("a bug: thread"), "{report}");
        assert!(report.contains("on purpose"), "{report}");
    }
}
