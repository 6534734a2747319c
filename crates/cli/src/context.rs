use std::io::{self, Write};
use std::time::Duration;

use ringfence_client::{Client, ClientConfig};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::exit::Failure;

/// What every command needs: how to reach the cluster and how to print.
#[derive(Clone, Debug)]
pub struct Context {
    /// How results are printed.
    pub format: Format,
    endpoints: Vec<String>,
    command_timeout: Option<Duration>,
}

impl Context {
    /// As the flags say.
    pub fn new(global: Global) -> Context {
        let Global { endpoints, write_out: format, command_timeout } = global;
        Context { format, endpoints, command_timeout }
    }

    /// How long a request may take: what the user gave, or this.
    pub fn request_timeout(&self, default: Duration) -> Duration {
        self.command_timeout.unwrap_or(default)
    }

    /// Nodes to talk to, as the user named them.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// A client whose requests take 10 s at the most, unless the user said otherwise.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let timeout = self.request_timeout(Duration::from_secs(10));
        let config = ClientConfig { timeout, ..ClientConfig::new(self.endpoints.iter().cloned()) };
        Ok(Client::with_config(config).await?)
    }

    /// Prints the one result of a command: `text` for people, `json` for scripts.
    pub fn print(&self, out: &mut dyn Write, text: impl std::fmt::Display, json: &impl Serialize) -> io::Result<()> {
        match self.format {
            Format::Table => writeln!(out, "{text}"),
            Format::Json | Format::Ndjson => {
                serde_json::to_writer(&mut *out, json)?;
                writeln!(out)
            }
        }
    }
}
