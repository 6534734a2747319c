use ringfence_types::{ClientId, RequestId, Revision};

use crate::v1;

impl From<RequestId> for v1::RequestId {
    fn from(id: RequestId) -> v1::RequestId {
        v1::RequestId { client: id.client.0, sequence: id.sequence, birth: id.birth.0 }
    }
}

/// Why a message is not a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequestId {
    /// 0 is what a client sends that forgot to set the field.
    #[error("the request id has client 0; choose 64 random bits once per client instance")]
    NoClient,
    /// Revisions are positive; 0 means "none seen yet".
    #[error("the request id has the negative birth {0}; take `revision` from ClusterService.Describe")]
    NegativeBirth(i64),
}

impl TryFrom<v1::RequestId> for RequestId {
    type Error = InvalidRequestId;

    fn try_from(id: v1::RequestId) -> Result<RequestId, InvalidRequestId> {
        if id.client == 0 {
            return Err(InvalidRequestId::NoClient);
        }
        if id.birth < 0 {
            return Err(InvalidRequestId::NegativeBirth(id.birth));
        }
        Ok(RequestId { client: ClientId(id.client), sequence: id.sequence, birth: Revision(id.birth) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_there_and_back_and_impossible_ones_are_refused() {
        let id = RequestId { client: ClientId(u64::MAX), sequence: 0, birth: Revision(i64::MAX) };
        assert_eq!(RequestId::try_from(v1::RequestId::from(id)), Ok(id));
        let none = v1::RequestId { client: 0, sequence: 1, birth: 1 };
        assert_eq!(RequestId::try_from(none), Err(InvalidRequestId::NoClient));
        let negative = v1::RequestId { client: 1, sequence: 1, birth: -1 };
        assert_eq!(RequestId::try_from(negative), Err(InvalidRequestId::NegativeBirth(-1)));
    }
}
