//! Serves one file over HTTP, as a web server with images does.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

/// A web server with one file behind every path. Dropping it stops it.
#[derive(Debug)]
pub struct ImageServer {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ImageServer {
    /// Serves `file` on a free port of this machine.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub async fn start(file: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let at = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, file.to_owned()));
        Ok(Self { at, task })
    }

    /// Where the file is.
    pub fn url(&self) -> String {
        format!("http://{}/worker.qcow2", self.at)
    }
}

async fn serve(listener: TcpListener, file: PathBuf) {
    while let Ok((stream, _)) = listener.accept().await {
        let file = file.clone();
        let service = service_fn(move |_| answer(file.clone()));
        // A client that goes away in the middle is its own affair.
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn answer(path: PathBuf) -> io::Result<Response<Body>> {
    let file = File::open(&path).await?;
    let length = file.metadata().await?.len();
    let mut answer = Response::new(StreamBody::new(chunks(file).boxed()));
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(answer)
}

fn chunks(file: File) -> impl futures::Stream<Item = io::Result<Frame<Bytes>>> {
    stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok((read > 0).then(|| (Frame::data(Bytes::from(chunk)), file)))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_of_several_chunks_arrives_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, text) = (folder.path().join("image"), vec![7u8; CHUNK * 2 + 3]);
        std::fs::write(&path, &text).unwrap();
        let server = ImageServer::start(&path).await.unwrap();
        let at = server.at;
        let got = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(at).unwrap();
            stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all
        });
        let got = got.await.unwrap();
        let body = got.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(String::from_utf8_lossy(&got[..body]).contains(&format!("content-length: {}", text.len())));
        assert!(got[body..] == text);
    }
}
