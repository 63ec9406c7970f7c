//! fastd, with the method from its documentation's examples.

use std::fs;

use anyhow::{Context, Result};
use udco_testbed::Process;

use super::{End, Ends, Program};

const PORT: u16 = 10_000;

const METHOD: &str = "salsa2012+umac";

pub(super) fn start(program: &Program, ends: &Ends<'_>) -> Result<[Process; 2]> {
    let server = Keys::make(program, &ends.server)?;
    let client = Keys::make(program, &ends.client)?;
    for (end, other) in ends.each() {
        let (own, theirs) = if ends.is_server(end) {
            (&server, &client)
        } else {
            (&client, &server)
        };
        let lines = format!(
            "log level warn;\nmode tun;\ninterface \"{}\";\nmtu 1500;\nmethod \"{METHOD}\";\nbind any:{PORT};\n\
             secret \"{}\";\npeer \"other\" {{\n  key \"{}\";\n  remote ipv4 {} port {PORT};\n}}\n",
            program.vpn.device(),
            own.secret,
            theirs.public,
            other.outer,
        );
        fs::write(end.file("fastd.conf"), lines)?;
    }
    let spawn = |end: &End<'_>| -> Result<Process> {
        let process = program.spawn(end, &["--config", &end.file("fastd.conf")])?;
        program.bring_up(end)?;
        Ok(process)
    };
    Ok([spawn(&ends.server)?, spawn(&ends.client)?])
}

struct Keys {
    secret: String,
    public: String,
}

impl Keys {
    fn make(program: &Program, end: &End<'_>) -> Result<Self> {
        let text = end.host.run(&[program.path()?, "--generate-key"])?;
        let word = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim().to_owned())
                .with_context(|| format!("fastd made no key: {text}"))
        };
        Ok(Self {
            secret: word("Secret:")?,
            public: word("Public:")?,
        })
    }
}
