//! Where the nodes are.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use ringfence_state_machine::NodeInfo;
use ringfence_types::NodeId;

/// Every node that this one knows, with its address. A cheap handle, shared by all who connect.
///
/// Two sources say where a node is: the initial cluster in this node's configuration, and the registry of the meta group,
/// where every node writes its own address when it starts. The registry is newer, with one exception. After a move of
/// the whole cluster to other addresses the nodes can only find each other by their configuration, while the registry
/// still has the old addresses until a majority has met. So a *change* in either source is what counts:
///
/// * A node's address is the last one that was news.
/// * What the registry said already when this node stopped is no news.
#[derive(Clone)]
pub(crate) struct AddressBook {
    book: Arc<RwLock<Book>>,
    /// By this node's own configuration.
    detours: Arc<BTreeMap<NodeId, String>>,
}

#[derive(Default)]
struct Book {
    nodes: BTreeMap<NodeId, NodeInfo>,
    /// As last read from the registry.
    registered: BTreeMap<NodeId, NodeInfo>,
}

impl AddressBook {
    /// `founders` as the cluster was founded, `configured` as the configuration has them now, `registered` as the registry
    /// had them when this node last looked.
    pub(crate) fn new(founders: &[NodeInfo], configured: &[NodeInfo], registered: &[NodeInfo]) -> AddressBook {
        let mut book = Book::default();
        for info in founders.iter().chain(registered) {
            book.nodes.insert(info.node, info.clone());
        }
        for info in registered {
            book.registered.insert(info.node, info.clone());
        }
        for info in configured {
            let founded = founders.iter().find(|founder| founder.node == info.node);
            match book.nodes.get_mut(&info.node) {
                Some(known) if founded.is_some_and(|founder| founder.address != info.address) => {
                    tracing::info!(node = info.node.0, address = info.address, "the configuration has a new address");
                    known.address = info.address.clone();
                }
                Some(_) => {}
                None => tracing::warn!(
                    node = info.node.0,
                    "initial_cluster names a node that did not found this cluster; it is ignored"
                ),
            }
        }
        AddressBook { book: Arc::new(RwLock::new(book)), detours: Arc::default() }
    }

    /// With what this node's configuration says about how to reach others.
    pub(crate) fn with_detours(self, detours: &BTreeMap<NodeId, String>) -> AddressBook {
        AddressBook { detours: Arc::new(detours.clone()), ..self }
    }

    /// Where to connect to reach a node: where it is, or where the detour to it begins.
    pub(crate) fn dial(&self, node: NodeId) -> Option<String> {
        self.detours.get(&node).cloned().or_else(|| self.address(node))
    }

    /// Where a node is, for those who ask.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.read(|book| book.nodes.get(&node).map(|info| info.address.clone()))
    }

    /// The incarnation of a node that the registry had last; 0: none yet.
    pub(crate) fn incarnation(&self, node: NodeId) -> u64 {
        self.read(|book| book.registered.get(&node).map_or(0, |info| info.incarnation))
    }

    /// Every known node, by id.
    pub(crate) fn nodes(&self) -> Vec<NodeInfo> {
        self.read(|book| book.nodes.values().cloned().collect())
    }

    /// The registry says so now. Tells whether it was news.
    pub(crate) fn learn(&self, registered: &[NodeInfo]) -> bool {
        let mut book = self.book.write().expect("no code panics while it holds this lock");
        let mut news = false;
        for info in registered {
            if book.registered.get(&info.node) != Some(info) {
                book.registered.insert(info.node, info.clone());
                book.nodes.insert(info.node, info.clone());
                news = true;
            }
        }
        news
    }

    /// As the registry last had it.
    pub(crate) fn registered(&self) -> Vec<NodeInfo> {
        self.read(|book| book.registered.values().cloned().collect())
    }

    fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.book.read().expect("no code panics while it holds this lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(node: u64, address: &str) -> NodeInfo {
        NodeInfo { node: NodeId(node), address: address.into(), labels: String::new(), incarnation: 0 }
    }

    #[test]
    fn the_registry_is_newer_than_the_configuration() {
        let founders = [at(1, "a:1"), at(2, "a:2")];
        let book = AddressBook::new(&founders, &founders, &[at(2, "b:2")]);
        assert_eq!(book.address(NodeId(1)).unwrap(), "a:1");
        assert_eq!(book.address(NodeId(2)).unwrap(), "b:2");
        assert!(book.learn(&[at(1, "c:1"), at(3, "c:3")]));
        assert_eq!(book.address(NodeId(1)).unwrap(), "c:1");
        assert_eq!(book.address(NodeId(3)).unwrap(), "c:3");
        assert!(!book.learn(&[at(1, "c:1")]));
    }

    /// All nodes were moved at once. The registry names the old addresses until they have met at the new ones.
    #[test]
    fn an_address_that_was_changed_in_the_configuration_holds_until_the_registry_has_news() {
        let founders = [at(1, "old:1"), at(2, "old:2")];
        let registered = founders.clone();
        let book = AddressBook::new(&founders, &[at(1, "new:1"), at(2, "new:2")], &registered);
        assert!(!book.learn(&registered));
        assert_eq!(book.address(NodeId(2)).unwrap(), "new:2");
        assert!(book.learn(&[at(2, "newest:2")]));
        assert_eq!(book.address(NodeId(2)).unwrap(), "newest:2");
    }

    #[test]
    fn a_node_that_is_only_in_the_configuration_is_not_believed() {
        let book = AddressBook::new(&[at(1, "a:1")], &[at(1, "a:1"), at(9, "a:9")], &[]);
        assert_eq!(book.address(NodeId(9)), None);
    }

    /// Others are told where a node is, not how we get there.
    #[test]
    fn a_detour_is_dialled_and_never_told() {
        let founders = [at(1, "a:1"), at(2, "b:2")];
        let detours = BTreeMap::from([(NodeId(2), "proxy:9".to_owned())]);
        let book = AddressBook::new(&founders, &founders, &[]).with_detours(&detours);
        assert_eq!((book.dial(NodeId(1)).unwrap(), book.dial(NodeId(2)).unwrap()), ("a:1".into(), "proxy:9".into()));
        assert!(book.learn(&[at(2, "c:2")]));
        assert_eq!((book.address(NodeId(2)).unwrap(), book.dial(NodeId(2)).unwrap()), ("c:2".into(), "proxy:9".into()));
        assert_eq!(book.dial(NodeId(3)), None);
    }
}
