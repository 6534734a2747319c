use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Sets keys drawn evenly.
    Put,
    /// Reads keys drawn evenly; linearizable. All of them exist.
    Get,
    /// Compare-and-set on keys that each belong to one client; every one must succeed.
    CasMany,
    /// Compare-and-set of all clients on one key; one operation is one success.
    CasHot,
    /// Half of the operations are gets, half are puts.
    Mixed50,
    /// 95 of 100 operations are gets, 5 are puts.
    Mixed95,
    /// Acquires and releases locks that each belong to one client; one operation is one such pair.
    Lock,
    /// All clients want one lock; one operation is one hand-over: waited for, got, released.
    LockHot,
}

impl Workload {
    /// Every one, in the order in which they are shown.
    pub const ALL: [Workload; 8] = [
        Workload::Put,
        Workload::Get,
        Workload::CasMany,
        Workload::CasHot,
        Workload::Mixed50,
        Workload::Mixed95,
        Workload::Lock,
        Workload::LockHot,
    ];

    /// As the command line and the rows have it.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Put => "put",
            Workload::Get => "get",
            Workload::CasMany => "cas-many",
            Workload::CasHot => "cas-hot",
            Workload::Mixed50 => "mixed-50",
            Workload::Mixed95 => "mixed-95",
            Workload::Lock => "lock",
            Workload::LockHot => "lock-hot",
        }
    }

    /// Whether it acquires and releases locks.
    pub fn locks(self) -> bool {
        matches!(self, Workload::Lock | Workload::LockHot)
    }

    /// Whether each client has keys, or names of locks, that no other client touches.
    pub(crate) fn divides_keys(self) -> bool {
        matches!(self, Workload::CasMany | Workload::Lock)
    }

    /// Whether there is one key, or one lock, that all clients touch.
    pub(crate) fn is_hot(self) -> bool {
        matches!(self, Workload::CasHot | Workload::LockHot)
    }

    /// Whether the keys must exist before it begins.
    pub(crate) fn reads(self) -> bool {
        self.gets_percent() > 0
    }

    /// How many of a hundred operations are gets.
    pub(crate) fn gets_percent(self) -> u64 {
        match self {
            Workload::Put | Workload::CasMany | Workload::CasHot | Workload::Lock | Workload::LockHot => 0,
            Workload::Mixed50 => 50,
            Workload::Mixed95 => 95,
            Workload::Get => 100,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Workload, String> {
        let found = Workload::ALL.into_iter().find(|workload| workload.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Workload::ALL.iter().map(|workload| workload.name()).collect();
            format!("there is no workload {text:?}; there are {}", names.join(", "))
        })
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Workload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Workload, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse(), Ok(workload));
        }
        assert!("cas".parse::<Workload>().unwrap_err().contains("cas-many"));
    }
}
