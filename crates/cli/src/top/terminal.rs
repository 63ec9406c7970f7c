//! The terminal: ours while the screen is open, and as it was afterwards, however the program ends.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::Once;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use rustix::process::{Signal, getpid, kill_process};

/// The whole terminal, in raw mode, on its alternate screen.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// # Errors
    /// The terminal's; it is then as it was.
    pub(super) fn open() -> io::Result<Self> {
        restore_at_panics();
        let entered = enter().and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match entered {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws, in the size that the terminal has now.
    ///
    /// # Errors
    /// The terminal's.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Gives the terminal back to the shell, until that continues this process.
    ///
    /// # Errors
    /// The terminal's.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        restore();
        kill_process(getpid(), Signal::TSTP)?;
        enter()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)
}

/// As far as possible: there is nobody to tell.
fn restore() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// A panic ends the process without dropping anything, and its message must be seen.
fn restore_at_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// Makes a second run of this test open the screen and panic.
    const PANICS: &str = "UDCO_TEST_PANICS_ON_SCREEN";

    #[test]
    fn a_panic_leaves_the_screen_before_it_is_reported() {
        if std::env::var_os(PANICS).is_some() {
            let _screen = Screen::open().unwrap();
            panic!("on purpose");
        }
        let this = std::env::current_exe().unwrap();
        let again = format!(
            "{} --exact --nocapture top::terminal::tests::a_panic_leaves_the_screen_before_it_is_reported; stty -a",
            this.display()
        );
        // A terminal of its own.
        let mut script = Command::new("script");
        script.args(["-qec", &again, "/dev/null"]).env(PANICS, "1");
        let Ok(output) = script.stdin(Stdio::null()).output() else {
            // Bypasses the capture of libtest.
            let _ = writeln!(
                stdout(),
                "SKIPPED: no script; cure: apt-get install bsdutils"
            );
            return;
        };
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let left = output.find("\x1b[?1049l").expect(&output);
        assert!(output.find("\x1b[?1049h").is_some_and(|it| it < left));
        let report = output.find("on purpose").expect(&output);
        assert!(left < report, "{output:?}");
        assert!(
            output.contains(" icanon") && output.contains(" echo "),
            "{output}"
        );
    }
}
