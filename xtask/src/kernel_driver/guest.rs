//! The guest: a kernel of Debian, and an initramfs with everything that runs in it. Nothing is installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{self, Apt};
use crate::step;

/// The release that has qemu's libraries, and the suite on top of it that has the kernel.
const RELEASE: &str = "trixie";
const BACKPORTS: &str = "trixie-backports";

/// The packages besides the kernel's; their dependencies come along.
const PACKAGES: [&str; 2] = ["qemu-system-x86", "busybox-static"];

/// File with the name of the kernel's package that is unpacked.
const IMAGE: &str = "image";

/// Debian's libraries for this machine.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// How the script begins that is the guest's first process.
const BEGIN: &str = include_str!("begin.sh");

/// The guest's kernel.
#[derive(Debug, clap::Args)]
pub(super) struct Kernel {
    /// Fetch the kernel again, which may be a newer one.
    #[arg(long)]
    fresh: bool,
    /// The kernel's package, of Debian's backports: an older one has its version in its name.
    #[arg(
        id = "kernel",
        long = "kernel",
        value_name = "PACKAGE",
        default_value = "linux-image-cloud-amd64"
    )]
    package: String,
}

/// How the guest's processors work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Processors {
    /// Two, as fast as qemu can.
    Fast,
    /// One, whose clock counts instructions: each takes a nanosecond, and idle time passes at once.
    Counting,
}

/// An unpacked kernel, with qemu and the tools to prepare it.
pub(super) struct Guest {
    root: PathBuf,
    /// The kernel's version, as `uname -r` says it.
    pub(super) kernel: String,
}

impl Guest {
    /// Unpacks the packages to `kernel-driver` in the target directory unless they are there, or fresh ones are wanted.
    ///
    /// # Errors
    /// Says why the packages are unavailable.
    pub(super) fn unpack(target: &Path, kernel: &Kernel) -> Result<Self> {
        let (image, fresh) = (kernel.package.as_str(), kernel.fresh);
        ensure!(
            cfg!(target_arch = "x86_64"),
            "the guest's kernel and programs are for x86-64: run this on such a machine"
        );
        let root = target.join("kernel-driver");
        let unpacked = fs::read_to_string(root.join(IMAGE)).unwrap_or_default();
        if fresh || unpacked != image {
            let new = target.join("kernel-driver.new");
            apt::remove(&new)?;
            fs::create_dir_all(&new)?;
            let apt = Apt::new(&new.join("apt"), "guest", &[RELEASE, BACKPORTS])?;
            apt.run("update", &["update", "-q", "--error-on=any"])?;
            let install = ["install", "-q", "-y", "--download-only", "-t", BACKPORTS];
            apt.run(
                "download the kernel and qemu",
                &[install.as_slice(), &PACKAGES, &[image]].concat(),
            )?;
            apt::unpack(&apt.archives(), &new)?;
            apt::remove(apt.root())?;
            fs::write(new.join(IMAGE), image)?;
            apt::remove(&root)?;
            fs::rename(&new, &root)?;
        }
        let mut kernels = fs::read_dir(root.join("usr/lib/modules"))?;
        let kernel = kernels.next().context("the packages contain no kernel")??;
        let kernel = kernel.file_name().to_string_lossy().into_owned();
        Ok(Self { root, kernel })
    }

    /// Writes an initramfs that runs this script, with these programs of this machine, each with its libraries, and these
    /// files of OpenVPN's, each with its name. Returns its path.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(super) fn initramfs(
        &self,
        script: &str,
        programs: &[&Path],
        openvpn: &[(&str, String)],
    ) -> Result<PathBuf> {
        let tree = self.root.join("initramfs");
        apt::remove(&tree)?;
        for directory in [
            "bin",
            "etc/openvpn",
            "sbin",
            "usr/lib/modules",
            "usr/lib64",
            "usr/local/bin",
        ] {
            fs::create_dir_all(tree.join(directory))?;
        }
        for name in ["lib", "lib64"] {
            symlink(Path::new("usr").join(name), tree.join(name))?;
        }
        fs::copy(self.busybox(), tree.join("bin/busybox"))?;
        // The kernel loads modules by this.
        symlink("/bin/busybox", tree.join("sbin/modprobe"))?;
        let init = tree.join("init");
        fs::write(&init, [BEGIN, script].join("\n"))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        for program in programs {
            let name = program.file_name().context("a program without a name")?;
            fs::copy(program, tree.join("usr/local/bin").join(name))
                .with_context(|| program.display().to_string())?;
            for library in libraries(program)? {
                let place = tree.join(library.strip_prefix("/")?);
                fs::create_dir_all(place.parent().context("no directory")?)?;
                fs::copy(&library, place)?;
            }
        }
        for (name, text) in openvpn {
            fs::write(tree.join("etc/openvpn").join(name), text)?;
        }
        let mut modules = Command::new("cp");
        modules.arg("-a").args([
            self.root.join("usr/lib/modules").join(&self.kernel),
            tree.join("usr/lib/modules"),
        ]);
        step::run("copy the modules", &mut modules)?;
        fs::remove_file(
            tree.join("usr/lib/modules")
                .join(&self.kernel)
                .join("vmlinuz"),
        )
        .ok();
        let mut depmod = self.command("usr/sbin/depmod")?;
        depmod.arg("-b").arg(&tree).arg(&self.kernel);
        step::run("depmod", &mut depmod)?;
        let archive = self.root.join("initramfs.cpio");
        let mut cpio = Command::new("sh");
        cpio.args(["-c", "find . | \"$0\" cpio -o -H newc >\"$1\""])
            .args([&self.busybox(), &archive])
            .current_dir(&tree);
        step::run("pack the initramfs", &mut cpio)?;
        Ok(archive)
    }

    /// qemu, which boots the guest without KVM, disk or network. `variables` are for the script.
    ///
    /// # Errors
    /// If the packages lack the kernel or qemu.
    pub(super) fn boot(
        &self,
        initramfs: &Path,
        processors: Processors,
        variables: &str,
    ) -> Result<Command> {
        let in_modules = self.root.join("usr/lib/modules").join(&self.kernel);
        let places = [
            in_modules.join("vmlinuz"),
            self.root.join(format!("boot/vmlinuz-{}", self.kernel)),
        ];
        let image = places.iter().find(|path| path.is_file());
        let mut qemu = self.command("usr/bin/qemu-system-x86_64")?;
        qemu.env("QEMU_MODULE_DIR", self.root.join(LIBRARIES).join("qemu"));
        for directory in ["qemu", "seabios"] {
            qemu.arg("-L")
                .arg(self.root.join("usr/share").join(directory));
        }
        qemu.args(["-machine", "q35", "-m", "1024"]);
        qemu.args(match processors {
            Processors::Fast => {
                ["-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "2"].as_slice()
            }
            // Without `rep movsb`: qemu would count an instruction for each byte that the kernel copies.
            Processors::Counting => &[
                "-cpu",
                "max,erms=off,fsrm=off",
                "-accel",
                "tcg,thread=single",
                "-smp",
                "1",
                "-icount",
                "shift=0,sleep=off",
            ],
        });
        qemu.args(["-nodefaults", "-nographic", "-no-reboot"]);
        qemu.args(["-serial", "stdio", "-monitor", "none"]);
        qemu.arg("-kernel").arg(image.context("no vmlinuz")?);
        qemu.arg("-initrd").arg(initramfs);
        let line = format!("console=ttyS0 quiet panic=-1 mitigations=off {variables}");
        qemu.args(["-append", line.trim_end()]);
        Ok(qemu)
    }

    fn busybox(&self) -> PathBuf {
        self.root.join("usr/bin/busybox")
    }

    /// An unpacked program, with the libraries unpacked beside it and not the machine's.
    fn command(&self, program: &str) -> Result<Command> {
        let program = self.root.join(program);
        ensure!(program.exists(), "no {}", program.display());
        let libraries = self.root.join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(libraries).arg(program);
        Ok(command)
    }
}

/// The libraries of a program of this machine, and its loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    if !output.status.success() {
        bail!("ldd cannot read {}", program.display());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.map(PathBuf::from).collect())
}
