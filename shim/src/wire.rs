//! ttrpc, as containerd speaks it: a header of ten bytes, then a Request or a
//! Response (github.com/containerd/ttrpc, PROTOCOL.md). Only unary calls: the
//! task service has no streams.

use std::io;
use std::rc::Rc;

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use crate::error::{Code, Fault, Result};
use crate::proto::{Request, Response, Status};

/// Bytes of a message at most; ttrpc's own limit.
const LIMIT: u32 = 4 << 20;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// One message with its place in the conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The call it belongs to.
    pub stream: u32,
    /// Request, response or data.
    pub kind: u8,
    /// The message itself, empty when it was too long.
    pub body: Vec<u8>,
    /// The message was longer than the limit and has been skipped.
    pub too_long: bool,
}

/// Reads a frame; `None` at the end of the conversation.
///
/// # Errors
/// Those of read(2), and an end within a frame.
pub async fn read(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0; 10];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&header[at..at + 4]);
        u32::from_be_bytes(bytes)
    };
    let (length, stream) = (number(0), number(4));
    let mut frame = Frame {
        stream,
        kind: header[8],
        body: Vec::new(),
        too_long: length > LIMIT,
    };
    let mut body = from.take(length.into());
    if frame.too_long {
        tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
    } else {
        body.read_to_end(&mut frame.body).await?;
        if frame.body.len() as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame))
}

/// A message with its header.
pub fn encode(stream: u32, kind: u8, message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(10 + length);
    // A length above u32 is refused by the peer, as any above the limit is.
    frame.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(stream.to_be_bytes());
    frame.extend([kind, 0]);
    // Encoding fails only for want of room, and a vector grows.
    let _ = message.encode(&mut frame);
    frame
}

/// What answers calls.
pub trait Serve {
    /// The answer's message, encoded.
    fn call(self: Rc<Self>, request: Request) -> impl Future<Output = Result<Vec<u8>>>;
}

/// Accepts connections for ever.
pub async fn serve<S: Serve + 'static>(listener: UnixListener, service: Rc<S>) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                // The socket's mode keeps others out; this holds where a file
                // system ignores it.
                let me = nix::unistd::geteuid().as_raw();
                if connection
                    .peer_cred()
                    .is_ok_and(|peer| peer.uid() == me || peer.uid() == 0)
                {
                    spawn_local(converse(connection, Rc::clone(&service)));
                }
            }
            Err(error) => {
                crate::log::warning(&format!("accept: {error}"));
                // Out of descriptors, most likely: some will be closed.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse<S: Serve + 'static>(connection: UnixStream, service: Rc<S>) {
    let (mut reader, writer) = connection.into_split();
    let (send, receive) = mpsc::unbounded_channel();
    spawn_local(write_all(writer, receive));
    while let Ok(Some(frame)) = read(&mut reader).await {
        if frame.kind != REQUEST {
            continue;
        }
        let (send, service) = (send.clone(), Rc::clone(&service));
        // A call that has begun is finished though the caller goes away.
        spawn_local(async move {
            let answer = answer(service, &frame).await;
            let _ = send.send(encode(frame.stream, RESPONSE, &answer));
        });
    }
}

async fn answer<S: Serve>(service: Rc<S>, frame: &Frame) -> Response {
    let result = if frame.too_long {
        Err(Fault::new(
            Code::InvalidArgument,
            "the request is longer than 4 MiB",
        ))
    } else {
        match Request::decode(frame.body.as_slice()) {
            Ok(request) => service.call(request).await,
            Err(error) => Err(Fault::new(Code::InvalidArgument, error)),
        }
    };
    match result {
        Ok(payload) => Response {
            status: Some(Status::default()),
            payload,
        },
        Err(fault) => Response {
            status: Some(Status {
                code: fault.code as i32,
                message: fault.text,
            }),
            payload: Vec::new(),
        },
    }
}

async fn write_all(mut writer: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// The calling side: one call at a time, which is all that events need.
#[derive(Debug)]
pub struct Client {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    stream: u32,
}

impl Client {
    /// Connects to a socket, with or without unix:// before its path.
    ///
    /// # Errors
    /// Those of connect(2).
    pub async fn connect(address: &str) -> io::Result<Self> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let (reader, writer) = UnixStream::connect(path).await?.into_split();
        Ok(Client {
            reader,
            writer,
            stream: 1,
        })
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// The conversation broke; or, inside, the status that the method gave.
    pub async fn call(
        &mut self,
        service: &str,
        method: &str,
        message: &impl Message,
    ) -> io::Result<std::result::Result<Vec<u8>, Status>> {
        let request = Request {
            service: service.into(),
            method: method.into(),
            payload: message.encode_to_vec(),
            ..Request::default()
        };
        let stream = self.stream;
        // Those of clients are odd.
        self.stream += 2;
        self.writer
            .write_all(&encode(stream, REQUEST, &request))
            .await?;
        loop {
            let Some(frame) = read(&mut self.reader).await? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if frame.stream != stream || frame.kind != RESPONSE {
                continue;
            }
            let response = Response::decode(frame.body.as_slice())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            return Ok(match response.status {
                Some(status) if status.code != 0 => Err(status),
                _ => Ok(response.payload),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_frame_is_read_back() {
        let request = Request {
            service: "s".into(),
            method: "m".into(),
            ..Request::default()
        };
        let bytes = encode(7, REQUEST, &request);
        assert_eq!(&bytes[..10], [0, 0, 0, 6, 0, 0, 0, 7, 1, 0]);
        let frame = read(&mut bytes.as_slice()).await.unwrap().unwrap();
        assert_eq!((frame.stream, frame.kind), (7, REQUEST));
        assert_eq!(Request::decode(frame.body.as_slice()).unwrap(), request);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_within_a_frame_is_an_error() {
        let bytes = encode(
            1,
            REQUEST,
            &Request {
                service: "service".into(),
                ..Request::default()
            },
        );
        assert!(read(&mut &bytes[..bytes.len() - 1]).await.is_err());
        assert_eq!(read(&mut [].as_slice()).await.unwrap(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_frame_too_long_is_skipped_and_the_next_is_read() {
        let mut bytes = (LIMIT + 1).to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 1, REQUEST, 0]);
        bytes.resize(bytes.len() + LIMIT as usize + 1, 0);
        bytes.extend(encode(3, REQUEST, &Request::default()));
        let mut from = bytes.as_slice();
        let first = read(&mut from).await.unwrap().unwrap();
        assert!(first.too_long && first.body.is_empty());
        assert_eq!(read(&mut from).await.unwrap().unwrap().stream, 3);
    }
}
