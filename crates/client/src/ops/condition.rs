use bytes::Bytes;
use ringfence_proto::v1;
use ringfence_types::Revision;

/// What must hold for a change to happen. Checked in the same atomic step as the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key is absent.
    Absent,
    /// The key exists.
    Exists,
    /// Its last write has this revision: nobody has written it since.
    RevisionIs(Revision),
    /// It was written this often since it was created; 0 = absent. A key that was deleted and created anew can have an old
    /// version again, never an old revision.
    VersionIs(u64),
    /// It exists and holds exactly this.
    ValueIs(Bytes),
}

impl Condition {
    /// [`Condition::ValueIs`], from anything that turns into bytes.
    pub fn value_is(value: impl Into<Bytes>) -> Condition {
        Condition::ValueIs(value.into())
    }

    pub(super) fn into_wire(self) -> v1::Condition {
        use v1::condition::Kind;
        let kind = match self {
            Condition::Absent => Kind::Absent(true),
            Condition::Exists => Kind::Exists(true),
            Condition::RevisionIs(revision) => Kind::RevisionIs(revision.0),
            Condition::VersionIs(version) => Kind::VersionIs(version),
            Condition::ValueIs(value) => Kind::ValueIs(value),
        };
        v1::Condition { kind: Some(kind) }
    }
}
