//! A process in a host that takes orders and answers each, a line of JSON for either.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::Host;

/// Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    /// Closing it ends the process.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts a program with its arguments.
    pub(crate) fn start(host: &Host, program: &str, arguments: &[&str]) -> Result<Self> {
        let mut child = host
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().context("no standard output")?),
            child,
        })
    }

    /// Orders something, and returns the answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<T> {
        self.order(order)?;
        self.answer()
    }

    /// Orders something, without waiting for the answer.
    pub(crate) fn order(&mut self, order: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        let orders = self.orders.as_mut().context("no standard input")?;
        Ok(orders.write_all(line.as_bytes())?)
    }

    /// The answer to an order.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("a process answered: {line:?}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Not by a signal: the process itself is nsenter's child, not ours.
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
