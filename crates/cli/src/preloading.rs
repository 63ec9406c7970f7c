//! Predicts why a program would not load the preload library, as far as that is visible before it starts (faults C2).

mod image;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::{getgid, getuid};
use udco_options::program::starts_by_loader;

use self::image::{Image, LONGEST_NAME};
use crate::regular;

/// Mode bits: runs as the file's owner, and as its group.
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

/// Why a program runs without the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) cause: String,
    pub(crate) cure: String,
}

impl Obstacle {
    fn new(cause: String, cure: &str) -> Self {
        let cure = cure.to_owned();
        Self { cause, cure }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.cure)
    }
}

/// Who starts a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Identity {
    /// That of this process.
    pub(crate) fn own() -> Self {
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
        }
    }
}

/// Why the program that this command line starts would run without the library; `None` if no obstacle is known.
pub(crate) fn obstacle(library: &Path, words: &[OsString], who: Identity) -> Option<Obstacle> {
    let separators = [b' ', b':'];
    if library
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|byte| separators.contains(byte))
    {
        let cause = format!(
            "the path {} cannot be preloaded because of its space or colon",
            library.display()
        );
        return Some(Obstacle::new(
            cause,
            "move it, for example to /usr/lib/udco",
        ));
    }
    let own = match Image::of(library) {
        Ok(Some(own)) if !own.is_cut => own,
        _ => {
            let cause = format!("{} is damaged", library.display());
            return Some(Obstacle::new(cause, "install it again"));
        }
    };
    if let Some(cause) = loses_environment(words) {
        return Some(Obstacle::new(
            format!("{cause} drops the preload library"),
            "put `udco run --` right before `openvpn`",
        ));
    }
    // A loader has no loader, and loads the library into the program behind it.
    let first = words.first().filter(|it| !starts_by_loader(it))?;
    let program = find(first)?;
    in_the_way(&own, &program, who).or_else(|| in_the_way(&own, &interpreter(&program)?, who))
}

/// A program that starts another one without this environment.
fn loses_environment(words: &[OsString]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    let has = |options: &[&str]| {
        let mut arguments = arguments.iter();
        arguments.any(|argument| options.iter().any(|option| argument == option))
    };
    let loses = match name {
        "sudo" | "doas" | "pkexec" => true,
        "su" | "runuser" => has(&["-", "-l", "--login"]),
        "env" => has(&["-", "-i", "--ignore-environment"]),
        _ => false,
    };
    loses.then(|| match (name, arguments.first()) {
        ("sudo" | "doas" | "pkexec", _) | (_, None) => format!("`{name}`"),
        (_, Some(first)) => format!("`{name} {}`", first.display()),
    })
}

/// Why this file would not load the library.
fn in_the_way(library: &Image, program: &Path, who: Identity) -> Option<Obstacle> {
    let at = program.display();
    let file = program.metadata().ok()?;
    let gains = (file.mode() & SET_UID != 0 && file.uid() != who.uid)
        || (file.mode() & SET_GID != 0 && file.gid() != who.gid);
    if gains {
        return Some(Obstacle::new(
            format!("{at} is setuid or setgid and therefore ignores the preload library"),
            "start it as the user it should run as",
        ));
    }
    let mut room = [0; 64];
    let capabilities = rustix::fs::getxattr(program, "security.capability", &mut room[..]);
    if capabilities.is_ok() && who.uid != 0 {
        return Some(Obstacle::new(
            format!("{at} has file capabilities and therefore ignores the preload library"),
            "remove them with `setcap -r`, and grant the user what it needs through a service manager",
        ));
    }
    let image = Image::of(program).ok()??;
    match &image.linker {
        None => Some(Obstacle::new(
            format!("{at} is statically linked and therefore ignores the preload library"),
            "use a dynamically linked one",
        )),
        Some(_) if image.kind != library.kind => Some(Obstacle::new(
            format!("{at} is for a different machine than the preload library"),
            "use a udco built for that machine",
        )),
        Some(_) => None,
    }
}

/// What a program needs to start, and does not find: the interpreter of a script, or a dynamic linker.
pub(crate) fn missing_interpreter(word: &OsStr) -> Option<PathBuf> {
    let program = find(word)?;
    let needed = match Image::of(&program).ok()? {
        Some(image) => {
            let linker = image.linker?;
            let name = linker.split(|byte| *byte == 0).next()?;
            PathBuf::from(OsStr::from_bytes(name))
        }
        None => interpreter(&program)?,
    };
    (!needed.exists()).then_some(needed)
}

/// Finds the program that this word names.
pub(crate) fn find(word: &OsStr) -> Option<PathBuf> {
    if word.as_bytes().contains(&b'/') {
        return Some(word.into());
    }
    let path = std::env::var_os("PATH")?;
    let is_program = |path: &PathBuf| {
        let file = path.metadata();
        file.is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
    };
    std::env::split_paths(&path)
        .map(|dir| dir.join(word))
        .find(is_program)
}

/// The interpreter of a script.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut line = vec![0; LONGEST_NAME];
    let len = regular::open(script).ok()?.read_at(&mut line, 0).ok()?;
    let rest = line.get(..len)?.strip_prefix(b"#!")?;
    let line = rest.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace);
    let path = words.find(|word| !word.is_empty())?;
    Some(OsStr::from_bytes(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::os::unix::fs::PermissionsExt;

    /// A folder for copies of this program, which is dynamic and linked to glibc; it also stands in for the library.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("udco-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        /// A copy with one byte string replaced by another of the same length.
        fn copy(&self, name: &str, from: &[u8], to: &[u8]) -> PathBuf {
            let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
            let at = bytes.windows(from.len()).position(|part| part == from);
            bytes[at.unwrap()..][..to.len()].copy_from_slice(to);
            self.write(name, &bytes)
        }

        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn left_out(why: &str) {
        let _ = writeln!(io::stdout(), "LEFT OUT: {why}");
    }

    fn said(library: &Path, words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        obstacle(library, &words, Identity::own()).map_or_else(String::new, |it| it.to_string())
    }

    #[test]
    fn what_a_program_needs_to_start_is_named() {
        let folder = Folder::new("needs");
        let own = std::env::current_exe().unwrap();
        let linker = Image::of(&own).unwrap().unwrap().linker.unwrap();
        let mut other = vec![0; linker.len()];
        let gone = b"/no/linker";
        other[..gone.len()].copy_from_slice(gone);
        for (program, missing) in [
            (own, None),
            (folder.copy("program", &linker, &other), Some("/no/linker")),
            (folder.write("script", b"#!/no/sh -e\n"), Some("/no/sh")),
            (folder.write("text", b"echo"), None),
            (folder.0.join("nothing"), None),
        ] {
            let found = missing_interpreter(program.as_os_str());
            assert_eq!(found, missing.map(PathBuf::from), "{}", program.display());
        }
    }

    #[test]
    fn what_loses_the_preload_library_is_named() {
        let folder = Folder::new("preloading");
        let library = std::env::current_exe().unwrap();
        let linker = Image::of(&library).unwrap().unwrap().linker.unwrap();
        let own = library.to_str().unwrap();
        assert_eq!(said(&library, &[own]), "");
        assert_eq!(said(&library, &["no-such-program"]), "");
        let loader = std::str::from_utf8(linker.strip_suffix(b"\0").unwrap()).unwrap();
        assert_eq!(said(&library, &[loader, own]), "");
        for words in [
            &["sudo", "openvpn"][..],
            &["su", "-", "vpn"],
            &["/bin/su", "-l", "vpn"],
            &["env", "-i", "openvpn"],
        ] {
            let said = said(&library, words);
            assert!(said.contains("right before `openvpn`"), "{words:?}: {said}");
        }
        for words in [&["env", "A=b", own][..], &[own, "-i"]] {
            assert_eq!(said(&library, words), "", "{words:?}");
        }
        // The library also loads into programs of another libc.
        let musl = b"/lib/ld-musl-x86_64.so.1";
        let mut other = vec![0; linker.len()];
        other[..musl.len()].copy_from_slice(musl);
        let musl = folder.copy("musl", &linker, &other);
        assert_eq!(said(&library, &[musl.to_str().unwrap()]), "");
        let script = folder.write("script", format!("#! {} -e\n", musl.display()).as_bytes());
        assert_eq!(said(&library, &[script.to_str().unwrap()]), "");
        // Neither would ever be opened.
        let fifo = folder.0.join("fifo");
        regular::make_fifo(&fifo);
        assert_eq!(said(&library, &[fifo.to_str().unwrap()]), "");
        let script = folder.write("piped", format!("#!{}\n", fifo.display()).as_bytes());
        assert_eq!(said(&library, &[script.to_str().unwrap()]), "");
        let bytes = std::fs::read(&library).unwrap();
        // Nothing behind the segments matters to a loader; most of this file is debug information.
        for (name, len) in [("cut", bytes.len() / 50), ("head", 70), ("empty", 0)] {
            let cut = folder.write(name, &bytes[..len]);
            assert!(said(&cut, &[own]).contains("damaged"), "{name}");
        }
        for name in ["a b", "a:b"] {
            let odd = folder.write(name, &bytes);
            assert!(said(&odd, &[own]).contains("space or colon"), "{name}");
        }
    }

    #[test]
    fn a_program_that_gains_rights_or_is_static_is_named() {
        let folder = Folder::new("gains");
        let library = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&library).unwrap();
        let source = folder.write("static.c", b"void _start(void) { for (;;); }");
        let built = folder.0.join("static");
        let mut compiler = std::process::Command::new("cc");
        compiler
            .args(["-static", "-nostdlib", "-o"])
            .args([&built, &source]);
        match compiler.status() {
            Ok(status) if status.success() => {
                assert!(said(&library, &[built.to_str().unwrap()]).contains("static"));
            }
            _ => left_out("no C compiler for a static program"),
        }
        let setuid = folder.write("setuid", &bytes);
        if std::os::unix::fs::chown(&setuid, Some(1), None).is_err() {
            left_out("only root gives a program to another user");
            return;
        }
        std::fs::set_permissions(&setuid, PermissionsExt::from_mode(0o4755)).unwrap();
        assert!(said(&library, &[setuid.to_str().unwrap()]).contains("setuid"));
    }
}
