//! Events for containerd, in order, kept while the daemon is away.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use prost::Message;
use tokio::sync::{mpsc, oneshot};

use crate::proto::{Any, Envelope, ForwardRequest};
use crate::wire::Client;

/// Events kept at most: the oldest go first.
const KEPT: usize = 1024;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

enum Item {
    Event(ForwardRequest),
    /// Answered when all before it are sent.
    Flush(oneshot::Sender<()>),
}

/// Where events are put.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::UnboundedSender<Item>,
    namespace: String,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Item")
    }
}

impl Publisher {
    /// Sends to containerd's ttrpc socket from now on.
    pub fn start(address: String, namespace: String) -> Self {
        let (queue, items) = mpsc::unbounded_channel();
        tokio::task::spawn_local(forward(address, items));
        Publisher { queue, namespace }
    }

    /// Puts an event into the queue. `name` is that of its message in
    /// containerd.events.
    pub fn publish(&self, topic: &str, name: &str, event: &impl Message) {
        let envelope = Envelope {
            timestamp: Some(SystemTime::now().into()),
            namespace: self.namespace.clone(),
            topic: topic.into(),
            event: Some(Any::of(&format!("containerd.events.{name}"), event)),
        };
        let _ = self.queue.send(Item::Event(ForwardRequest {
            envelope: Some(envelope),
        }));
    }

    /// Waits until what was published is sent, within reason.
    pub async fn flush(&self) {
        let (done, all) = oneshot::channel();
        let _ = self.queue.send(Item::Flush(done));
        let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
    }
}

async fn forward(address: String, mut items: mpsc::UnboundedReceiver<Item>) {
    let mut waiting = VecDeque::new();
    let mut client = None;
    let mut pause = Duration::from_millis(100);
    loop {
        if waiting.is_empty() {
            match items.recv().await {
                Some(item) => waiting.push_back(item),
                None => return,
            }
        }
        while let Ok(item) = items.try_recv() {
            waiting.push_back(item);
            if waiting.len() > KEPT {
                waiting.pop_front();
            }
        }
        match waiting.pop_front() {
            Some(Item::Flush(done)) => {
                let _ = done.send(());
            }
            Some(Item::Event(event)) => match send(&address, &mut client, &event).await {
                Ok(()) => pause = Duration::from_millis(100),
                // containerd is being restarted: it is asked again, less and
                // less often.
                Err(_) => {
                    client = None;
                    waiting.push_front(Item::Event(event));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
            },
            None => {}
        }
    }
}

async fn send(
    address: &str,
    client: &mut Option<Client>,
    event: &ForwardRequest,
) -> std::io::Result<()> {
    if client.is_none() {
        *client = Some(Client::connect(address).await?);
    }
    let Some(client) = client else {
        return Ok(());
    };
    let service = "containerd.services.events.ttrpc.v1.Events";
    let call = client.call(service, "Forward", event);
    let answer = tokio::time::timeout(ANSWER, call).await;
    let answer = answer.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    if let Err(status) = answer {
        // containerd has it and does not want it; asking again changes nothing.
        crate::log::warning(&format!("event refused: {}", status.message));
    }
    Ok(())
}
