use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringfence_proto::v1;
use ringfence_types::{ClusterId, Revision};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{ClientConfig, ConnectError, parse_endpoint};
use crate::gate::Gate;
use crate::locks::Keeper;
use crate::pool::Pool;
use crate::request_ids::RequestIds;
use crate::routing::{Place, Routing};

/// How long one node may take to describe the cluster before the next one is asked.
const DESCRIBE_ATTEMPT: Duration = Duration::from_secs(1);
/// Between two rounds of asking every endpoint while connecting.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Nodes asked for one fresh map.
const REFRESH_NODES_MAX: usize = 3;
/// Between two maps that nobody waits for.
const BACKGROUND_REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// A connection to a cluster: cheap to clone, and every clone shares streams, routes and limits.
///
/// Operations are builders: set what you need, then `.await`.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn f(db: ringfence_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// db.put("session:9", "alice").ttl(Duration::from_secs(60)).timeout(Duration::from_secs(1)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) cluster: ClusterId,
    pub(crate) ids: RequestIds,
    pub(crate) routing: Routing,
    pub(crate) pool: Pool,
    pub(crate) gate: Gate,
    pub(crate) keeper: Keeper,
    /// Rises with every fresh map.
    map_generation: AtomicU64,
    /// Held while a fresh map is asked for, so that a thousand calls that find the map stale ask once. Holds when that
    /// was done last.
    refreshing: tokio::sync::Mutex<Option<Instant>>,
}

impl Client {
    /// Connects with the defaults of [`ClientConfig`]. One endpoint that answers is enough: it names the others.
    pub async fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Result<Client, ConnectError> {
        Client::with_config(ClientConfig::new(endpoints)).await
    }

    /// Connects as configured, and waits up to `config.timeout` for a node that answers.
    pub async fn with_config(mut config: ClientConfig) -> Result<Client, ConnectError> {
        if config.endpoints.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        config.endpoints = config.endpoints.iter().map(|e| parse_endpoint(e)).collect::<Result<_, _>>()?;
        let pool = Pool::new(config.unary);
        let described = first_description(&pool, &config).await?;
        let routing = Routing::new(&config.endpoints);
        routing.learn(&described);
        let shared = Shared {
            cluster: ClusterId(described.cluster),
            ids: RequestIds::new(rand::random(), Revision(described.revision)),
            routing,
            pool,
            gate: Gate::new(config.max_in_flight, config.max_in_flight_bytes),
            keeper: Keeper::default(),
            map_generation: AtomicU64::new(1),
            refreshing: tokio::sync::Mutex::new(None),
            config,
        };
        Ok(Client { shared: Arc::new(shared) })
    }

    /// The highest revision that this client has seen in any answer. Whatever it writes gets a higher one.
    pub fn revision_seen(&self) -> Revision {
        self.shared.ids.seen()
    }

    /// Which cluster this client is bound to. A node of another one refuses its requests.
    pub fn cluster_id(&self) -> ClusterId {
        self.shared.cluster
    }
}

impl Shared {
    pub(crate) fn map_generation(&self) -> u64 {
        self.map_generation.load(Ordering::Acquire)
    }

    /// Fetches the map, unless somebody has done so since `generation`.
    pub(crate) async fn refresh(&self, generation: u64) {
        let mut refreshed = self.refreshing.lock().await;
        if self.map_generation() > generation {
            return;
        }
        for address in self.routing.candidates(Place::Everywhere).iter().take(REFRESH_NODES_MAX) {
            let Ok(link) = self.pool.link(address) else { continue };
            if link.avoid_until().is_some() {
                continue;
            }
            match link.describe(DESCRIBE_ATTEMPT).await {
                Ok(described) if described.cluster == self.cluster.0 => {
                    self.routing.learn(&described);
                    break;
                }
                _ => {}
            }
        }
        *refreshed = Some(Instant::now());
        // Also after a failure: those who waited for us need not fail the same way one after the other.
        self.map_generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Fetches the map some time soon, unless that was done a moment ago: what it lacked then it may lack still.
    pub(crate) fn refresh_in_background(self: &Arc<Shared>) {
        let Ok(refreshed) = self.refreshing.try_lock() else { return };
        if refreshed.is_none_or(|at| at.elapsed() >= BACKGROUND_REFRESH_PAUSE) {
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.refresh(shared.map_generation()).await });
        }
    }
}

/// Asks the endpoints in turn until one describes the cluster.
async fn first_description(pool: &Pool, config: &ClientConfig) -> Result<v1::DescribeResponse, ConnectError> {
    let deadline = Instant::now() + config.timeout;
    let mut problems = vec!["no answer yet".to_owned(); config.endpoints.len()];
    let ask_all = async {
        loop {
            for (endpoint, problem) in config.endpoints.iter().zip(&mut problems) {
                *problem = match pool.link(endpoint) {
                    Ok(link) => match link.describe(DESCRIBE_ATTEMPT).await {
                        Ok(described) => return described,
                        Err(error) => error.message,
                    },
                    Err(why) => why,
                };
            }
            sleep(CONNECT_PAUSE).await;
        }
    };
    if let Ok(described) = timeout_at(deadline, ask_all).await {
        return Ok(described);
    }
    let tried: Vec<_> = config.endpoints.iter().zip(&problems).map(|(e, problem)| format!("{e}: {problem}")).collect();
    Err(ConnectError::Unreachable { timeout: config.timeout, tried: tried.join("; ") })
}
