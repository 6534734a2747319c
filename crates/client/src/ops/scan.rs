//! Many keys, page by page.
//!
//! Keys with one hash tag are one ordered collection on one shard: [`Client::scan_tag`] reads it in key order, at the cost
//! of what it returns. Other keys are spread over the ring by their hash: [`Client::scan_prefix`] without a complete tag
//! reads **everything** in ring order and filters. A page says which of the two it was ([`Page::filtered`]).
//!
//! Each page is one linearizable read; a scan of several pages sees changes that happen between them.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, TryStreamExt};
use ringfence_proto::v1;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::v1::scan_request::What;
use ringfence_types::limits::SCAN_PAGE_ITEMS_MAX;
use ringfence_types::{HashTag, RingPosition, TagError, routing_part};

use super::{KeyValue, invalid};
use crate::call::Request;
use crate::client::Client;
use crate::errors::{Outcome, ReadFailure, Rejected, Unavailable};
use crate::routing::Place;

/// Reads many keys. Made by [`Client::scan_tag`] or [`Client::scan_prefix`]; end with [`Scan::stream`] or [`Scan::page`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is streamed or a page is awaited"]
pub struct Scan {
    client: Client,
    what: What,
    start: Bytes,
    end: Bytes,
    page_items: u32,
    keys_only: bool,
    timeout: Option<Duration>,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order. May be fewer than asked, even none, and still not the last.
    pub items: Vec<KeyValue>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Bytes>,
    /// True if every key of the cluster is read to find these.
    pub filtered: bool,
}

/// Why keys could not be read. Reading changes nothing, whatever happens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// This is not a hash tag.
    #[error(transparent)]
    InvalidTag(#[from] TagError),
    /// No node could answer in time. Go on later from the same cursor.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The cluster refuses, and would again.
    #[error(transparent)]
    Rejected(Rejected),
}

impl ScanError {
    /// Always refused: reading changes nothing.
    pub fn outcome(&self) -> Outcome {
        Outcome::Refused
    }
}

impl From<ReadFailure> for ScanError {
    fn from(failure: ReadFailure) -> ScanError {
        match failure {
            ReadFailure::Unavailable(unavailable) => ScanError::Unavailable(unavailable),
            ReadFailure::Refused(error) => ScanError::Rejected(error.into()),
        }
    }
}

impl Client {
    /// Reads the keys that begin `{tag}`, in order. Give the tag without braces.
    ///
    /// ```no_run
    /// use futures::TryStreamExt;
    ///
    /// # async fn f(db: ringfence_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut orders = std::pin::pin!(db.scan_tag("user:42").start(":orders:").end(":orders;").stream());
    /// while let Some(order) = orders.try_next().await? {
    ///     println!("{}", order.key.escape_ascii());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan_tag(&self, tag: impl AsRef<[u8]>) -> Scan {
        self.scan(What::Tag(Bytes::copy_from_slice(tag.as_ref())))
    }

    /// Reads the keys that begin with these bytes. If they hold a complete hash tag that is an ordered scan of one shard;
    /// else every key of the cluster is read and filtered. Empty: everything, in ring order.
    pub fn scan_prefix(&self, prefix: impl AsRef<[u8]>) -> Scan {
        self.scan(What::Prefix(Bytes::copy_from_slice(prefix.as_ref())))
    }

    fn scan(&self, what: What) -> Scan {
        Scan {
            client: self.clone(),
            what,
            start: Bytes::new(),
            end: Bytes::new(),
            page_items: 0,
            keys_only: false,
            timeout: None,
        }
    }
}

impl Scan {
    /// With a tag: only keys whose part after `{tag}` is at or after this.
    pub fn start(mut self, start: impl AsRef<[u8]>) -> Scan {
        self.start = Bytes::copy_from_slice(start.as_ref());
        self
    }

    /// With a tag: only keys whose part after `{tag}` is before this.
    pub fn end(mut self, end: impl AsRef<[u8]>) -> Scan {
        self.end = Bytes::copy_from_slice(end.as_ref());
        self
    }

    /// Most items in one page: 1000 unless set, and 10,000 is the most. To read fewer items in all, take fewer from the
    /// stream.
    pub fn page_items(mut self, items: u32) -> Scan {
        self.page_items = items.min(SCAN_PAGE_ITEMS_MAX);
        self
    }

    /// Leaves the values out.
    pub fn keys_only(mut self) -> Scan {
        self.keys_only = true;
        self
    }

    /// Another deadline than the client's, for each page.
    pub fn timeout(mut self, timeout: Duration) -> Scan {
        self.timeout = Some(timeout);
        self
    }

    /// One item after the other; pages are fetched as they are needed.
    pub fn stream(self) -> impl Stream<Item = Result<KeyValue, ScanError>> + Send + 'static {
        let pages = stream::try_unfold(Some(None), move |cursor: Option<Option<Bytes>>| {
            let scan = self.clone();
            async move {
                let Some(cursor) = cursor else { return Ok(None) };
                let page = scan.page(cursor).await?;
                let items = stream::iter(page.items.into_iter().map(Ok));
                Ok::<_, ScanError>(Some((items, page.next.map(Some))))
            }
        });
        pages.try_flatten()
    }

    /// One page: the first, or the one that begins at a [`Page::next`].
    pub async fn page(&self, cursor: Option<Bytes>) -> Result<Page, ScanError> {
        let place = match &self.what {
            What::Tag(tag) => Place::Position(HashTag::new(tag.clone())?.position()),
            What::Prefix(_) if !(self.start.is_empty() && self.end.is_empty()) => {
                let message = "start and end go with a tag; a scan by prefix has none. Give a longer prefix";
                return Err(ScanError::Rejected(invalid(message)));
            }
            What::Prefix(prefix) if has_complete_tag(prefix) => {
                Place::Position(RingPosition::of_routing_part(routing_part(prefix)))
            }
            What::Prefix(_) => Place::Everywhere,
        };
        let ask = Ask::Scan(v1::ScanRequest {
            header: None,
            what: Some(self.what.clone()),
            start: self.start.clone(),
            end: self.end.clone(),
            limit: self.page_items,
            cursor: cursor.unwrap_or_default(),
            keys_only: self.keys_only,
        });
        let pick = |told| match told {
            Told::Scan(scan) => Some(Page {
                items: scan.kvs.into_iter().map(KeyValue::from).collect(),
                next: (!scan.next_cursor.is_empty()).then_some(scan.next_cursor),
                filtered: scan.filtered,
            }),
            _ => None,
        };
        let request = Request { ask, place, timeout: self.timeout };
        Ok(self.client.shared.call(request, pick).await.map_err(ReadFailure::from)?)
    }
}

/// Whether all keys with this prefix have one routing part: what stands in braces, not the whole key.
fn has_complete_tag(prefix: &[u8]) -> bool {
    routing_part(prefix).len() < prefix.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sending a scan of everything to one shard would cost a detour; the odd cases must not panic.
    #[test]
    fn a_prefix_has_a_place_only_with_a_complete_tag() {
        for (prefix, complete) in
            [("{user:42}", true), ("a{b}c", true), ("{user:4", false), ("user:", false), ("{}", false), ("", false)]
        {
            assert_eq!(has_complete_tag(prefix.as_bytes()), complete, "{prefix}");
        }
    }
}
