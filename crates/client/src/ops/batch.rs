use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all};
use ringfence_types::Fence;

use super::{
    Add, AddError, Added, Cas, CasError, Delete, DeleteError, Deleted, Get, GetError, KeyValue, Put, PutError, Written,
};
use crate::client::Client;
use crate::errors::Outcome;

/// Many operations at once. Made by [`Client::batch`]; await it.
///
/// They run concurrently, share messages, and each goes straight to its own shard with its own retries and its own answer.
/// So this is *not* atomic, and promises nothing about order: not even two operations on one key happen in the order given.
/// What must happen in order is awaited in order.
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Batch {
    client: Client,
    operations: Vec<Operation>,
    fences: Vec<Fence>,
}

#[derive(Debug)]
enum Operation {
    Get(Get),
    Put(Put),
    Delete(Delete),
    Cas(Cas),
    Add(Add),
}

/// The result of one operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchAnswer {
    /// Of a `get`.
    Got(Option<KeyValue>),
    /// Of a `put` or a `cas`.
    Written(Written),
    /// Of a `delete`.
    Deleted(Deleted),
    /// Of an `add`.
    Added(Added),
}

/// Why one operation of a batch has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Of a `get`.
    #[error(transparent)]
    Get(#[from] GetError),
    /// Of a `put`.
    #[error(transparent)]
    Put(#[from] PutError),
    /// Of a `delete`.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// Of a `cas`.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// Of an `add`.
    #[error(transparent)]
    Add(#[from] AddError),
}

impl BatchError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            BatchError::Get(error) => error.outcome(),
            BatchError::Put(error) => error.outcome(),
            BatchError::Delete(error) => error.outcome(),
            BatchError::Cas(error) => error.outcome(),
            BatchError::Add(error) => error.outcome(),
        }
    }
}

impl Client {
    /// Many operations at once.
    ///
    /// ```no_run
    /// # async fn f(db: ringfence_client::Client) {
    /// let answers = db.batch().put("a", "1").put("b", "2").get("c").await;
    /// for answer in answers {
    ///     println!("{answer:?}");
    /// }
    /// # }
    /// ```
    pub fn batch(&self) -> Batch {
        Batch { client: self.clone(), operations: Vec::new(), fences: Vec::new() }
    }
}

impl Batch {
    /// Adds a `get`.
    pub fn get(self, key: impl AsRef<[u8]>) -> Batch {
        let get = self.client.get(key);
        self.with(Operation::Get(get))
    }

    /// Adds a `put`.
    pub fn put(self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Batch {
        let put = self.client.put(key, value);
        self.with(Operation::Put(put))
    }

    /// Adds a `delete`.
    pub fn delete(self, key: impl AsRef<[u8]>) -> Batch {
        let delete = self.client.delete(key);
        self.with(Operation::Delete(delete))
    }

    /// Adds a `get` that was built with options.
    pub fn and_get(self, get: Get) -> Batch {
        self.with(Operation::Get(get))
    }

    /// Adds a `put` that was built with options.
    pub fn and_put(self, put: Put) -> Batch {
        self.with(Operation::Put(put))
    }

    /// Adds a `delete` that was built with options.
    pub fn and_delete(self, delete: Delete) -> Batch {
        self.with(Operation::Delete(delete))
    }

    /// Adds a `cas`.
    pub fn and_cas(self, cas: Cas) -> Batch {
        self.with(Operation::Cas(cas))
    }

    /// Adds an `add`.
    pub fn and_add(self, add: Add) -> Batch {
        self.with(Operation::Add(add))
    }

    /// Every mutation of the batch happens only while this lease is current, each checked where it happens. May be given up to 16
    /// times.
    pub fn fence(mut self, fence: impl Into<Fence>) -> Batch {
        self.fences.push(fence.into());
        self
    }

    fn with(mut self, operation: Operation) -> Batch {
        self.operations.push(operation);
        self
    }
}

impl Operation {
    fn fenced(self, fences: &[Fence]) -> Operation {
        let fences = fences.iter().cloned();
        match self {
            Operation::Get(get) => Operation::Get(get),
            Operation::Put(put) => Operation::Put(fences.fold(put, Put::fence)),
            Operation::Delete(delete) => Operation::Delete(fences.fold(delete, Delete::fence)),
            Operation::Cas(cas) => Operation::Cas(fences.fold(cas, Cas::fence)),
            Operation::Add(add) => Operation::Add(fences.fold(add, Add::fence)),
        }
    }

    fn run(self) -> BoxFuture<'static, Result<BatchAnswer, BatchError>> {
        match self {
            Operation::Get(get) => get.into_future().map(|r| Ok(BatchAnswer::Got(r?))).boxed(),
            Operation::Put(put) => put.into_future().map(|r| Ok(BatchAnswer::Written(r?))).boxed(),
            Operation::Delete(delete) => delete.into_future().map(|r| Ok(BatchAnswer::Deleted(r?))).boxed(),
            Operation::Cas(cas) => cas.into_future().map(|r| Ok(BatchAnswer::Written(r?))).boxed(),
            Operation::Add(add) => add.into_future().map(|r| Ok(BatchAnswer::Added(r?))).boxed(),
        }
    }
}

impl IntoFuture for Batch {
    /// In the order in which the operations were added.
    type Output = Vec<Result<BatchAnswer, BatchError>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let fences = self.fences;
        Box::pin(join_all(self.operations.into_iter().map(|operation| operation.fenced(&fences).run())))
    }
}
