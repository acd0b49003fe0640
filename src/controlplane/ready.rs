//! Waiting until a control plane serves.

use std::fmt::Display;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use super::process::Process;

/// How long a process may take: builds and tests that run beside it can make it slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
/// Between two questions.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(5);

/// Waits until the API server says that it is ready and has made the namespace `default`.
pub(super) async fn api_server(client: &Client, process: &mut Process) -> Result<(), Error> {
    until("the API server's /readyz", process, || async {
        let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        said(client.request_text(request).await)
    })
    .await?;
    let namespaces = Api::<Namespace>::all(client.clone());
    until("the namespace `default`", process, || async { said(namespaces.get("default").await) }).await
}

/// Waits until the controllers have made the ServiceAccount `default`.
pub(super) async fn controllers(client: &Client, process: &mut Process) -> Result<(), Error> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    until("the ServiceAccount `default`", process, || async { said(accounts.get("default").await) }).await
}

fn said<T, E: Display>(answer: Result<T, E>) -> Result<(), String> {
    answer.map(drop).map_err(|error| error.to_string())
}

/// Asks until the answer is good, the process has ended, or patience has.
async fn until<F: Future<Output = Result<(), String>>>(
    what: &'static str,
    process: &mut Process,
    ask: impl Fn() -> F,
) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        process.expect_running()?;
        let last = match timeout(ANSWER, ask()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => "no answer".to_owned(),
        };
        let waited = started.elapsed();
        if waited > PATIENCE {
            let (name, log) = (process.name().to_owned(), process.log_end());
            return Err(Error::NotReady { what, last, waited, name, log });
        }
        sleep(PAUSE).await;
    }
}
