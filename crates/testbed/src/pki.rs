//! Certificates for one test, made on the spot: EC P-256, which takes only milliseconds.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::tool::tool;

/// A certificate authority and the certificates it has issued, as PEM files in one directory.
#[derive(Clone, Debug)]
pub struct Pki {
    directory: PathBuf,
}

/// Certificate and key of one party.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Common name.
    pub name: String,
    /// The authority's certificate.
    pub authority: PathBuf,
    /// Own certificate.
    pub certificate: PathBuf,
    /// Own private key.
    pub key: PathBuf,
}

impl Pki {
    /// Creates the authority in `directory`.
    ///
    /// # Errors
    /// If `openssl` fails (it takes 3.0 or newer).
    pub fn new(directory: &Path) -> Result<Self> {
        let pki = Self {
            directory: directory.to_owned(),
        };
        pki.request("ca", &["-addext", "basicConstraints=critical,CA:TRUE"])?;
        Ok(pki)
    }

    /// Issues a server certificate for `name`.
    ///
    /// # Errors
    /// If `openssl` fails.
    pub fn server(&self, name: &str) -> Result<Credentials> {
        self.issue(name, "serverAuth")
    }

    /// Issues a client certificate for `name`.
    ///
    /// # Errors
    /// If `openssl` fails.
    pub fn client(&self, name: &str) -> Result<Credentials> {
        self.issue(name, "clientAuth")
    }

    fn issue(&self, name: &str, usage: &str) -> Result<Credentials> {
        let [authority, authority_key] = [self.file("ca", "crt"), self.file("ca", "key")];
        self.request(
            name,
            &[
                "-CA",
                &authority.to_string_lossy(),
                "-CAkey",
                &authority_key.to_string_lossy(),
                "-addext",
                "basicConstraints=CA:FALSE",
                "-addext",
                "keyUsage=digitalSignature",
                "-addext",
                &format!("extendedKeyUsage={usage}"),
            ],
        )?;
        Ok(Credentials {
            name: name.to_owned(),
            authority,
            certificate: self.file(name, "crt"),
            key: self.file(name, "key"),
        })
    }

    fn request(&self, name: &str, more: &[&str]) -> Result<()> {
        let mut openssl = tool("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
            .arg("-keyout")
            .arg(self.file(name, "key"))
            .arg("-out")
            .arg(self.file(name, "crt"))
            .args(more);
        let output = openssl.output()?;
        ensure!(
            output.status.success(),
            "openssl req for {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.directory.join(format!("{name}.{extension}"))
    }
}
