//! A lease, and one who waits for it, in JSON and in tables.
//!
//! ```json
//! {"name":"backup","token":"459000123","generation":"459000123","holder":"web1:71","mode":"exclusive",
//!  "ttl_ms":"10000","ttl_left_ms":"8200","metadata":""}
//! {"name":"gpu","token":"459000124","generation":"459000124","holder":"web2:9","mode":"permit","permit":2,"permits":4, …}
//! ```
//!
//! What is not UTF-8, or anything under `--hex`, stands in `name_hex`, `holder_hex`, `metadata_hex`, as with keys.

use std::time::Duration;

use ringfence_client::{LeaseInfo, LockMode, WaiterInfo};
use serde::Serialize;

use crate::{duration, record, text};

/// The columns of [`row`].
pub const COLUMNS: &[&str] = &["NAME", "TOKEN", "MODE", "HOLDER", "TTL", "LEFT", "METADATA"];
/// The columns of [`waiter_row`].
pub const WAITER_COLUMNS: &[&str] = &["TICKET", "MODE", "HOLDER", "STATE"];

/// A lease for scripts.
#[derive(Serialize)]
pub struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    token: String,
    generation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder_hex: Option<String>,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    ttl_ms: String,
    ttl_left_ms: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_hex: Option<String>,
}

/// One who waits, for scripts.
#[derive(Serialize)]
pub struct WaiterJson<'a> {
    ticket: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder_hex: Option<String>,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    silent: bool,
}

impl<'a> Json<'a> {
    /// A lease, in hex if that is asked for.
    pub fn new(lease: &'a LeaseInfo, hex: bool) -> Json<'a> {
        let (name, name_hex) = text::plain_or_hex(lease.name.bytes(), hex);
        let (holder, holder_hex) = text::plain_or_hex(lease.holder.bytes(), hex);
        let (metadata, metadata_hex) = text::plain_or_hex(lease.metadata.bytes(), hex);
        let permits = permits(lease.mode);
        Json {
            name,
            name_hex,
            token: lease.token.to_string(),
            generation: lease.generation.to_string(),
            holder,
            holder_hex,
            mode: mode(lease.mode),
            permit: permits.map(|_| lease.permit),
            permits,
            ttl_ms: ms(lease.ttl).to_string(),
            ttl_left_ms: ms(lease.ttl_left).to_string(),
            metadata,
            metadata_hex,
        }
    }
}

impl<'a> WaiterJson<'a> {
    /// One who waits.
    pub fn new(waiter: &'a WaiterInfo, hex: bool) -> WaiterJson<'a> {
        let (holder, holder_hex) = text::plain_or_hex(waiter.holder.bytes(), hex);
        WaiterJson {
            ticket: waiter.ticket.to_string(),
            holder,
            holder_hex,
            mode: mode(waiter.mode),
            permits: permits(waiter.mode),
            silent: waiter.is_silent,
        }
    }
}

/// The cells of a table's row.
pub fn row(lease: &LeaseInfo, hex: bool) -> Vec<String> {
    let held = match permits(lease.mode) {
        Some(of) => format!("permit {} of {of}", lease.permit),
        None => mode(lease.mode).to_owned(),
    };
    let metadata = lease.metadata.bytes();
    vec![
        text::to_cell(lease.name.bytes(), hex),
        lease.token.to_string(),
        held,
        text::to_cell(lease.holder.bytes(), hex),
        duration::display_ms(ms(lease.ttl)),
        duration::display_ms(ms(lease.ttl_left)),
        record::shortened(text::to_cell(metadata, hex), metadata.len()),
    ]
}

/// The cells of the row of one who waits.
pub fn waiter_row(waiter: &WaiterInfo, hex: bool) -> Vec<String> {
    vec![
        waiter.ticket.to_string(),
        permits(waiter.mode).map_or_else(|| mode(waiter.mode).to_owned(), |of| format!("permit of {of}")),
        text::to_cell(waiter.holder.bytes(), hex),
        if waiter.is_silent { "silent" } else { "waits" }.to_owned(),
    ]
}

fn mode(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Exclusive => "exclusive",
        LockMode::Shared => "shared",
        LockMode::Permit { .. } => "permit",
    }
}

fn permits(mode: LockMode) -> Option<u32> {
    match mode {
        LockMode::Exclusive | LockMode::Shared => None,
        LockMode::Permit { of } => Some(of.count()),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use ringfence_client::{FencingToken, Holder, LockName, Metadata, Permits, Revision};

    use super::*;

    fn lease(mode: LockMode) -> LeaseInfo {
        LeaseInfo {
            name: LockName::new("gpu").unwrap(),
            token: FencingToken(Revision(459_000_124)),
            holder: Holder::new(b"w\xff".as_slice()).unwrap(),
            metadata: Metadata::new("on\tcall").unwrap(),
            mode,
            permit: 2,
            generation: FencingToken(Revision(459_000_120)),
            ttl: Duration::from_secs(10),
            ttl_left: Duration::from_millis(8200),
        }
    }

    #[test]
    fn a_lease_for_scripts() {
        let lease = lease(LockMode::Permit { of: Permits::new(4).unwrap() });
        let json = serde_json::to_string(&Json::new(&lease, false)).unwrap();
        let expected = "{\"name\":\"gpu\",\"token\":\"459000124\",\"generation\":\"459000120\",\"holder_hex\":\"77ff\",\
             \"mode\":\"permit\",\"permit\":2,\"permits\":4,\"ttl_ms\":\"10000\",\"ttl_left_ms\":\"8200\",\
             \"metadata\":\"on\\tcall\"}";
        assert_eq!(json, expected);
    }

    /// Only a semaphore has numbered permits: a script must not take 0 for one.
    #[test]
    fn others_have_no_permit() {
        let shared = serde_json::to_value(Json::new(&lease(LockMode::Shared), true)).unwrap();
        assert_eq!((&shared["mode"], &shared["name_hex"]), (&"shared".into(), &"677075".into()));
        assert!(shared.get("permit").is_none() && shared.get("permits").is_none() && shared.get("name").is_none());
    }

    #[test]
    fn rows_have_a_cell_for_each_column() {
        let cells = row(&lease(LockMode::Permit { of: Permits::new(4).unwrap() }), false);
        assert_eq!(cells, ["gpu", "459000124", "permit 2 of 4", "w\\xff", "10.0s", "8.2s", "on\\tcall"]);
        assert_eq!(cells.len(), COLUMNS.len());
        let waiter = WaiterInfo {
            ticket: Revision(7),
            holder: Holder::new("b").unwrap(),
            mode: LockMode::Exclusive,
            is_silent: true,
        };
        assert_eq!(waiter_row(&waiter, false), ["7", "exclusive", "b", "silent"]);
        assert_eq!(waiter_row(&waiter, true).len(), WAITER_COLUMNS.len());
    }
}
