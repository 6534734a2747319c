//! However often a mutation is sent, it is one request.

use std::time::Duration;

use ringfence_client::{AddError, Condition, Outcome, PutError, Reason, Revision};

use crate::fake::{Cluster, Fault, answer};

/// Guarantee G8 as a caller sees it: the answer was lost, the addition was not repeated.
#[tokio::test]
async fn an_add_whose_answer_was_lost_is_counted_once() {
    for fault in [Fault::BreakAfter, Fault::LoseAnswer, Fault::BreakBefore, answer(Reason::OutcomeUnknown)] {
        for unary in [false, true] {
            let cluster = Cluster::start(2).await;
            let db = cluster.client_with(|config| config.unary = unary).await;
            cluster.fault(1, fault.clone());
            let added = db.add("stock", 5).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_eq!((added.value, added.version), (5, 1), "{fault:?}");

            let arrivals = cluster.arrivals();
            assert_eq!(arrivals.len(), 2, "{fault:?}");
            assert!(arrivals[0].id.is_some());
            assert_eq!(arrivals[0].id, arrivals[1].id, "{fault:?}: sent again with another id");
            assert_eq!((arrivals[0].node, arrivals[1].node), (1, 2), "{fault:?}: not sent to another node");
            assert_eq!(cluster.value("stock").unwrap(), "5");
        }
    }
}

/// Two calls are two requests, also when they ask for the same.
#[tokio::test]
async fn every_call_has_an_id_of_its_own_and_a_birth_of_what_was_seen() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    let first = db.add("n", 1).await.unwrap();
    db.clone().add("n", 1).await.unwrap();
    assert_eq!(cluster.value("n").unwrap(), "2");
    let ids: Vec<_> = cluster.arrivals().iter().map(|arrival| arrival.id.unwrap()).collect();
    assert_eq!(ids[0].client, ids[1].client, "clones are one client");
    assert_ne!(ids[0].sequence, ids[1].sequence);
    assert_eq!((ids[0].birth, ids[1].birth), (1000, first.revision.0));
    let other = cluster.client().await;
    other.add("n", 1).await.unwrap();
    assert_ne!(cluster.arrivals()[2].id.unwrap().client, ids[0].client);
}

/// A client that slept through a collection: nothing was lost, so it goes on with a new birth.
#[tokio::test]
async fn a_fresh_request_that_is_too_old_is_born_anew() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    {
        let mut state = cluster.state.lock().unwrap();
        (state.clock, state.floor) = (5000, 4000);
    }
    assert_eq!(db.add("n", 1).await.unwrap().value, 1);
    let ids: Vec<_> = cluster.arrivals().iter().map(|arrival| arrival.id.unwrap()).collect();
    assert_eq!((ids[0].birth, ids[1].birth), (1000, 5000));
    assert_ne!(ids[0].sequence, ids[1].sequence);
    assert!(db.revision_seen() >= Revision(5000));
}

/// But if an answer was lost before, its outcome is forgotten: only "unknown" is true.
#[tokio::test]
async fn a_resent_request_that_is_too_old_is_unknown() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    cluster.fault(1, Fault::BreakBefore);
    cluster.state.lock().unwrap().floor = 4000;
    let error = db.add("n", 1).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    let AddError::OutcomeUnknown(unknown) = error else { panic!("{error:?}") };
    assert_eq!(unknown.attempts, 2);
    assert_eq!(Some(unknown.id.sequence), cluster.arrivals()[0].id.map(|id| id.sequence));
}

/// The retry meets its own write: told from memory, it is a success and not a lost race.
#[tokio::test]
async fn a_cas_whose_answer_was_lost_did_not_lose_against_itself() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    cluster.fault(1, Fault::BreakAfter);
    assert_eq!(db.cas("k", Condition::Absent, "mine").await.unwrap().version, 1);
    let lost = db.put("k", "other").condition(Condition::Absent).await.unwrap_err();
    let PutError::ConditionFailed { revision, version } = lost else { panic!("{lost:?}") };
    assert_eq!((revision, version), (Revision(1001), 1));
}

/// An answer that makes no sense says nothing about what happened.
#[tokio::test]
async fn an_answer_to_another_question_is_asked_about_again() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    cluster.fault(1, Fault::AnswerAnother);
    assert_eq!(db.add("n", 3).await.unwrap().value, 3);
    assert_eq!(cluster.arrivals().len(), 2);
    cluster.fault(1, Fault::AnswerAnother);
    cluster.fault(1, answer(Reason::DiskFull));
    let error = db.add("n", 3).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
}

/// The deadline passes while nobody answers: a sent change is unknown, a read is not.
#[tokio::test]
async fn no_answer_until_the_deadline_is_unknown_for_changes_only() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client_with(|config| config.timeout = Duration::from_millis(200)).await;
    for _ in 0..2 {
        cluster.fault(1, Fault::LoseAnswer);
    }
    let put = db.put("k", "v").await.unwrap_err();
    assert_eq!(put.outcome(), Outcome::Unknown, "{put}");
    assert_eq!(cluster.value("k").unwrap(), "v", "and in truth it happened");
    let get = db.get("k").await.unwrap_err();
    assert_eq!(get.outcome(), Outcome::Refused, "{get}");
}
