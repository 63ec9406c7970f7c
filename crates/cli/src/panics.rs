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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use crate::again;

    /// Makes a second run of this test panic.
    const PANICS: &str = "UDCO_TEST_PANICS";

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
