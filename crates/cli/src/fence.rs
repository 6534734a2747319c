//! `--fence LOCK@TOKEN`: what a script under `ringctl lock` gives its writes.

use std::ffi::OsString;

use clap::Args;
use ringfence_client::{Fence, FencingToken, LockName, Revision};

use crate::exit::Failure;

/// Of a command that writes.
#[derive(Debug, Args)]
pub struct Fences {
    /// Only while this lease is current, else exit code 4; may be given several times. Under `ringctl lock`: --fence
    /// "$RINGFENCE_LOCK@$RINGFENCE_TOKEN". The lock must have the same {tag} as the key
    #[arg(long = "fence", value_name = "LOCK@TOKEN")]
    fences: Vec<OsString>,
}

impl Fences {
    /// As the SDK wants them.
    pub fn parse(self) -> Result<Vec<Fence>, Failure> {
        self.fences.into_iter().map(parse).collect()
    }
}

fn parse(arg: OsString) -> Result<Fence, Failure> {
    let shown = arg.to_string_lossy().into_owned();
    let wrong = |why: &str| Failure::usage(format!("--fence {shown}: {why}"));
    let mut lock = arg.into_encoded_bytes();
    // A lock's name may hold an @, a token never.
    let at = lock.iter().rposition(|byte| *byte == b'@').ok_or_else(|| wrong("give LOCK@TOKEN"))?;
    let token = String::from_utf8_lossy(&lock[at + 1..]).parse::<i64>();
    let token = token.ok().filter(|token| *token > 0).ok_or_else(|| wrong("the token after the last @ is no token"))?;
    lock.truncate(at);
    let lock = LockName::new(lock).map_err(|error| wrong(&error.to_string()))?;
    Ok(Fence { lock, token: FencingToken(Revision(token)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_parts_the_name_from_the_token() {
        let fence = parse("{a}b@c@17".into()).unwrap();
        assert_eq!((fence.lock.as_ref(), fence.token), (b"{a}b@c".as_slice(), FencingToken(Revision(17))));
        for wrong in ["", "a", "a@", "@1", "a@0", "a@-1", "a@1x", "a@99999999999999999999"] {
            assert!(parse(wrong.into()).is_err(), "{wrong:?}");
        }
    }
}
