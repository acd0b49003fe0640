//! The operator as its chart installs it: `helm install`, replicas as processes, and what they asked of the API server.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{AuditEvent, ControlPlane, Error, OperatorProcess, deployment, ports, ready};

/// An operator that a chart has installed. There is no kubelet: what its Deployment says is started by
/// [`Self::start`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    name: String,
    namespace: String,
}

impl Installed {
    /// Installs the chart in the folder `chart` as the release `name`, into a namespace that is made for it. The
    /// Deployment and the ServiceAccount must have that name, too. `values` are for `--set`.
    ///
    /// # Errors
    ///
    /// What helm said.
    pub async fn from_chart(
        plane: &ControlPlane,
        chart: &Path,
        name: &str,
        namespace: &str,
        values: &[&str],
    ) -> Result<Self, Error> {
        let chart = chart.display().to_string();
        let mut args = vec!["install", name, &chart, "--namespace", namespace, "--create-namespace"];
        args.extend(values.iter().flat_map(|value| ["--set", value]));
        plane.helm(&args).await?.success()?;
        Ok(Self { name: name.to_owned(), namespace: namespace.to_owned() })
    }

    /// Starts replica number `replica` of the Deployment. Its probes and metrics are served on a port of their own,
    /// because two processes of one machine cannot share one as two Pods can.
    ///
    /// # Errors
    ///
    /// If the Deployment says something that a process cannot do, or the program cannot be started.
    pub async fn start(&self, plane: &ControlPlane, program: &Path, replica: u32) -> Result<Replica, Error> {
        let [port] = ports::free()?;
        let admin = SocketAddr::from(([127, 0, 0, 1], port));
        let spec = deployment::read(&plane.client().await?, &self.namespace, &self.name, replica).await?;
        let spec = spec.with_arg("--admin-address", &admin.to_string());
        Ok(Replica { process: OperatorProcess::start(plane, program, &spec).await?, admin })
    }

    /// What the operator's ServiceAccount asked of the API server so far, in the order of the answers.
    ///
    /// # Errors
    ///
    /// [`Error::NoAudit`] if the control plane was started without [`super::Options::audit`].
    pub fn requests(&self, plane: &ControlPlane) -> Result<Vec<AuditEvent>, Error> {
        let user = format!("system:serviceaccount:{}:{}", self.namespace, self.name);
        Ok(plane.audit_events()?.into_iter().filter(|event| event.user == user).collect())
    }
}

/// One process of an installed operator. Dropping it ends the process.
#[derive(Debug)]
pub struct Replica {
    /// The process.
    pub process: OperatorProcess,
    /// Where it is asked how it is.
    pub admin: SocketAddr,
}

impl Replica {
    /// What it answers to `GET path`: the status and all of the answer, headers included. None if it does not answer,
    /// because it has just begun, say.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, answer))
    }
    /// Waits until `/readyz` answers what is wanted: a status, and an answer.
    ///
    /// # Errors
    ///
    /// [`Error::NotReady`] if that takes longer than anything takes.
    pub async fn until_ready(&self, wanted: impl Fn(u16, &str) -> bool) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let answer = self.get("/readyz").await;
            if answer.as_ref().is_some_and(|(status, answer)| wanted(*status, answer)) {
                return Ok(());
            }
            if started.elapsed() > ready::PATIENCE {
                return Err(Error::NotReady {
                    what: "the wanted answer to /readyz",
                    last: answer.map_or_else(|| "no answer".to_owned(), |(_, answer)| answer),
                    waited: started.elapsed(),
                    name: "the operator".to_owned(),
                    log: self.process.log_end(),
                });
            }
            sleep(ready::PAUSE).await;
        }
    }
}
