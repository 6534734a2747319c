//! What the SDK's errors mean for a person and for a script: one table from error to exit code, message and hint.

use ringfence_client::{
    AcquireError, AddError, CasError, ConnectError, DeleteError, GetError, LockReadError, OutcomeUnknown, PutError,
    Reason, Rejected, ReleaseError, ReplaceError, ScanError, TransferLeaderError, Unavailable,
};

use crate::exit::{Exit, Failure};

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        match error {
            ConnectError::NoEndpoints | ConnectError::InvalidEndpoint { .. } => Failure::usage(error.to_string()),
            ConnectError::Unreachable { .. } => Failure::new(Exit::CannotConnect, error.to_string())
                .hint("`ringfence dev` starts a cluster here; --endpoints or RINGCTL_ENDPOINTS names another"),
        }
    }
}

impl From<Unavailable> for Failure {
    /// Without a reason no node said anything: there is no connection to speak of.
    fn from(error: Unavailable) -> Failure {
        let exit = if error.reason.is_none() { Exit::CannotConnect } else { Exit::Failed };
        Failure::new(exit, error.to_string()).hint("`ringctl cluster status` shows which nodes answer")
    }
}

impl From<OutcomeUnknown> for Failure {
    fn from(error: OutcomeUnknown) -> Failure {
        Failure::new(Exit::OutcomeUnknown, error.to_string())
    }
}

impl From<Rejected> for Failure {
    fn from(error: Rejected) -> Failure {
        Failure::new(exit_of(error.reason), error.to_string())
    }
}

fn exit_of(reason: Option<Reason>) -> Exit {
    match reason {
        Some(
            Reason::KeyEmpty
            | Reason::KeyTooLarge
            | Reason::ValueTooLarge
            | Reason::InvalidTag
            | Reason::InvalidCondition
            | Reason::InvalidTtl
            | Reason::InvalidRequest
            | Reason::FenceElsewhere,
        ) => Exit::BadUsage,
        Some(
            Reason::NotAnInteger
            | Reason::OutOfBounds
            | Reason::ConditionFailed
            | Reason::UnknownShard
            | Reason::UnknownNode
            | Reason::HistoryGone
            | Reason::Fenced
            | Reason::LeaseExpired
            | Reason::LeaseOver
            | Reason::NotTheHolder
            | Reason::LockHeld
            | Reason::LockQueueFull
            | Reason::PermitsDiffer,
        ) => Exit::Refused,
        Some(
            Reason::NotLeader
            | Reason::WrongShard
            | Reason::WrongCluster
            | Reason::RequestTooOld
            | Reason::Overloaded
            | Reason::ReplicaBehind
            | Reason::NoQuorum
            | Reason::OutcomeUnknown
            | Reason::DeadlineExceeded
            | Reason::ShuttingDown
            | Reason::DiskFull
            | Reason::Internal,
        ) => Exit::Failed,
        // A newer cluster's reason. The SDK says that it is a refusal.
        None => Exit::Refused,
    }
}

impl From<PutError> for Failure {
    fn from(error: PutError) -> Failure {
        match error {
            PutError::InvalidKey(_) | PutError::InvalidValue(_) | PutError::InvalidTtl(_) => {
                Failure::usage(error.to_string())
            }
            PutError::ConditionFailed { .. } => condition_failed(error.to_string()),
            PutError::Fenced { .. } => Failure::new(Exit::Refused, error.to_string()),
            PutError::Unavailable(error) => error.into(),
            PutError::Rejected(error) => error.into(),
            PutError::OutcomeUnknown(error) => error.into(),
        }
    }
}

impl From<CasError> for Failure {
    fn from(error: CasError) -> Failure {
        match error {
            CasError::InvalidKey(_) | CasError::InvalidValue(_) | CasError::InvalidTtl(_) => {
                Failure::usage(error.to_string())
            }
            CasError::ConditionFailed { .. } => condition_failed(error.to_string()),
            CasError::Fenced { .. } => Failure::new(Exit::Refused, error.to_string()),
            CasError::Unavailable(error) => error.into(),
            CasError::Rejected(error) => error.into(),
            CasError::OutcomeUnknown(error) => error.into(),
        }
    }
}

impl From<DeleteError> for Failure {
    fn from(error: DeleteError) -> Failure {
        match error {
            DeleteError::InvalidKey(_) => Failure::usage(error.to_string()),
            DeleteError::ConditionFailed { .. } => condition_failed(error.to_string()),
            DeleteError::Fenced { .. } => Failure::new(Exit::Refused, error.to_string()),
            DeleteError::Unavailable(error) => error.into(),
            DeleteError::Rejected(error) => error.into(),
            DeleteError::OutcomeUnknown(error) => error.into(),
        }
    }
}

impl From<AddError> for Failure {
    fn from(error: AddError) -> Failure {
        match error {
            AddError::InvalidKey(_) => Failure::usage(error.to_string()),
            AddError::OutOfBounds { .. } | AddError::NotAnInteger | AddError::Fenced { .. } => {
                Failure::new(Exit::Refused, error.to_string())
            }
            AddError::Unavailable(error) => error.into(),
            AddError::Rejected(error) => error.into(),
            AddError::OutcomeUnknown(error) => error.into(),
        }
    }
}

impl From<GetError> for Failure {
    fn from(error: GetError) -> Failure {
        match error {
            GetError::InvalidKey(_) => Failure::usage(error.to_string()),
            GetError::HistoryGone { .. } => Failure::new(Exit::Refused, error.to_string()),
            GetError::Unavailable(error) => error.into(),
            GetError::Rejected(error) => error.into(),
        }
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Failure {
        match error {
            ScanError::InvalidTag(_) => Failure::usage(error.to_string()),
            ScanError::Unavailable(error) => error.into(),
            ScanError::Rejected(error) => error.into(),
        }
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Failure {
        match error {
            AcquireError::InvalidName(_)
            | AcquireError::InvalidHolder(_)
            | AcquireError::InvalidMetadata(_)
            | AcquireError::InvalidTtl(_)
            | AcquireError::InvalidPermits(_) => Failure::usage(error.to_string()),
            AcquireError::Held(_) | AcquireError::QueueFull { .. } | AcquireError::TimedOut { .. } => {
                Failure::new(Exit::Refused, error.to_string())
                    .hint("`ringctl lease inspect NAME` shows who holds it and who waits")
            }
            AcquireError::PermitsDiffer { .. } => Failure::new(Exit::Refused, error.to_string()),
            AcquireError::Unavailable(error) => error.into(),
            AcquireError::Rejected(error) => error.into(),
            AcquireError::OutcomeUnknown(error) => error.into(),
        }
    }
}

impl From<ReleaseError> for Failure {
    fn from(error: ReleaseError) -> Failure {
        match error {
            ReleaseError::InvalidName(_) | ReleaseError::InvalidHolder(_) => Failure::usage(error.to_string()),
            ReleaseError::Over | ReleaseError::NotTheHolder => Failure::new(Exit::Refused, error.to_string())
                .hint("`ringctl lease inspect NAME` shows holders and tokens"),
            ReleaseError::Unavailable(error) => error.into(),
            ReleaseError::Rejected(error) => error.into(),
            ReleaseError::OutcomeUnknown(error) => error.into(),
        }
    }
}

impl From<LockReadError> for Failure {
    fn from(error: LockReadError) -> Failure {
        match error {
            LockReadError::InvalidName(_) => Failure::usage(error.to_string()),
            LockReadError::Unavailable(error) => error.into(),
            LockReadError::Rejected(error) => error.into(),
        }
    }
}

impl From<ReplaceError> for Failure {
    fn from(error: ReplaceError) -> Failure {
        match error {
            ReplaceError::Unavailable(error) => error.into(),
            ReplaceError::UnknownNode { .. } | ReplaceError::Rejected(_) => {
                Failure::new(Exit::Refused, error.to_string())
                    .hint("`ringctl cluster status` shows which nodes are distrusted")
            }
        }
    }
}

impl From<TransferLeaderError> for Failure {
    fn from(error: TransferLeaderError) -> Failure {
        let message = error.to_string();
        match error {
            TransferLeaderError::Unavailable(error) => error.into(),
            // For a script it is no matter of how the command was written: no voter is there, or none that could.
            TransferLeaderError::UnknownShard { .. } | TransferLeaderError::Rejected(_) => {
                Failure::new(Exit::Refused, message).hint("`ringctl shard list` shows the shards and their voters")
            }
            TransferLeaderError::Behind { .. } => Failure::new(Exit::Refused, message)
                .hint("`ringctl cluster status` shows which nodes answer, and how far their replicas are"),
            TransferLeaderError::Unknown { .. } => {
                Failure::new(Exit::OutcomeUnknown, message).hint("`ringctl cluster status` shows who leads")
            }
        }
    }
}

fn condition_failed(message: String) -> Failure {
    Failure::new(Exit::Refused, message).hint("`ringctl get KEY -w json` shows what it holds now")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts retry on 1 and 2, give up on 3, decide anew on 4. A reason in the wrong class makes them do the wrong thing.
    #[test]
    fn reasons_fall_into_the_class_that_scripts_act_on() {
        let exit = |reason| Failure::from(Rejected { reason, message: String::new() }).exit;
        assert_eq!(exit(Some(Reason::KeyTooLarge)), Exit::BadUsage);
        assert_eq!(exit(Some(Reason::ConditionFailed)), Exit::Refused);
        assert_eq!(exit(Some(Reason::OutOfBounds)), Exit::Refused);
        assert_eq!(exit(Some(Reason::DiskFull)), Exit::Failed);
        assert_eq!(exit(None), Exit::Refused);
        let unavailable = |reason| Failure::from(Unavailable { attempts: 1, reason, last: String::new() }).exit;
        assert_eq!(unavailable(None), Exit::CannotConnect);
        assert_eq!(unavailable(Some(Reason::NoQuorum)), Exit::Failed);
    }
}
