//! The task service: requests of containerd, each turned into one act of a
//! task. Versions 2 and 3 have the same messages.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use prost::Message;
use tokio::sync::Notify;

use crate::error::{Code, Fault, Result};
use crate::proto::{self, Any, Empty, Request};
use crate::task::{Host, Task};
use crate::wire::Serve;

/// The containers of one shim.
#[derive(Debug)]
pub struct Service {
    host: Rc<Host>,
    tasks: RefCell<BTreeMap<String, Rc<Task>>>,
    /// Ids that are being created.
    coming: RefCell<BTreeSet<String>>,
    /// Told when the shim is to end.
    pub over: Notify,
}

fn decode<M: Message + Default>(request: &Request) -> Result<M> {
    M::decode(request.payload.as_slice()).map_err(|error| Fault::new(Code::InvalidArgument, error))
}

fn empty() -> Vec<u8> {
    Empty {}.encode_to_vec()
}

impl Serve for Service {
    async fn call(self: Rc<Self>, request: Request) -> Result<Vec<u8>> {
        if !matches!(
            request.service.as_str(),
            "containerd.task.v2.Task" | "containerd.task.v3.Task"
        ) {
            let text = format!("service {:?} is not served here", request.service);
            return Err(Fault::new(Code::Unimplemented, text));
        }
        match request.method.as_str() {
            "Create" => self.create(&decode(&request)?).await,
            "Start" => self.start(&decode(&request)?).await,
            "Delete" => self.delete(&decode(&request)?).await,
            "Exec" => self.exec(&decode(&request)?),
            "State" => self.state(&decode(&request)?),
            "Wait" => self.wait(&decode(&request)?).await,
            "Kill" => self.kill(&decode(&request)?).await,
            "Pids" => self.pids(&decode(&request)?).await,
            "Pause" => self.pause(&decode(&request)?).await,
            "Resume" => self.resume(&decode(&request)?).await,
            "ResizePty" => self.resize(&decode(&request)?),
            "CloseIO" => self.close_io(&decode(&request)?),
            "Update" => self.update(&decode(&request)?).await,
            "Stats" => self.stats(&decode(&request)?).await,
            "Connect" => self.connect(&decode(&request)?),
            "Shutdown" => Ok(self.shutdown()),
            "Checkpoint" => Err(Fault::new(
                Code::Unimplemented,
                "brig makes no checkpoints of containers",
            )),
            method => {
                let text = format!("method {method:?} is not known");
                Err(Fault::new(Code::Unimplemented, text))
            }
        }
    }
}

impl Service {
    /// A shim without containers.
    pub fn new(host: Rc<Host>) -> Self {
        Service {
            host,
            tasks: RefCell::default(),
            coming: RefCell::default(),
            over: Notify::new(),
        }
    }

    fn task(&self, id: &str) -> Result<Rc<Task>> {
        let found = self.tasks.borrow().get(id).cloned();
        found.ok_or_else(|| Fault::no_container(id))
    }

    async fn create(&self, request: &proto::CreateTaskRequest) -> Result<Vec<u8>> {
        let id = &request.id;
        if self.tasks.borrow().contains_key(id) || !self.coming.borrow_mut().insert(id.clone()) {
            let text = format!("container {id:?} exists already");
            return Err(Fault::new(Code::AlreadyExists, text));
        }
        let created = Task::create(Rc::clone(&self.host), request).await;
        self.coming.borrow_mut().remove(id);
        let task = created?;
        self.tasks.borrow_mut().insert(id.clone(), Rc::clone(&task));
        let pid = task.init.pid.get();
        let event = proto::TaskCreate {
            container_id: id.clone(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: Some(proto::TaskIo {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
            }),
            checkpoint: request.checkpoint.clone(),
            pid,
        };
        let events = &self.host.events;
        events.publish("/tasks/create", "TaskCreate", &event);
        task.watch();
        Ok(proto::PidResponse { pid }.encode_to_vec())
    }

    async fn start(&self, request: &proto::ProcessRequest) -> Result<Vec<u8>> {
        let task = self.task(&request.id)?;
        let pid = if request.exec_id.is_empty() {
            task.start().await?
        } else {
            task.start_exec(&request.exec_id).await?
        };
        Ok(proto::PidResponse { pid }.encode_to_vec())
    }

    async fn delete(&self, request: &proto::ProcessRequest) -> Result<Vec<u8>> {
        let task = self.task(&request.id)?;
        let (process, exit) = task.delete(&request.exec_id).await?;
        if request.exec_id.is_empty() {
            self.tasks.borrow_mut().remove(&request.id);
        }
        let response = proto::DeleteResponse {
            pid: process.pid.get(),
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
        };
        Ok(response.encode_to_vec())
    }

    fn exec(&self, request: &proto::ExecProcessRequest) -> Result<Vec<u8>> {
        self.task(&request.id)?.add_exec(request)?;
        Ok(empty())
    }

    fn state(&self, request: &proto::ProcessRequest) -> Result<Vec<u8>> {
        let task = self.task(&request.id)?;
        let process = task.process(&request.exec_id)?;
        let exit = process.ended();
        let response = proto::StateResponse {
            id: task.id.clone(),
            bundle: task.bundle.to_string_lossy().into_owned(),
            pid: process.pid.get(),
            status: task.status(&process).into(),
            stdin: process.names.stdin.clone(),
            stdout: process.names.stdout.clone(),
            stderr: process.names.stderr.clone(),
            terminal: process.names.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at.into()),
            exec_id: process.exec_id.clone(),
        };
        Ok(response.encode_to_vec())
    }

    async fn wait(&self, request: &proto::ProcessRequest) -> Result<Vec<u8>> {
        let process = self.task(&request.id)?.process(&request.exec_id)?;
        let exit = process.end().await?;
        let response = proto::WaitResponse {
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
        };
        Ok(response.encode_to_vec())
    }

    async fn kill(&self, request: &proto::KillRequest) -> Result<Vec<u8>> {
        let task = self.task(&request.id)?;
        task.kill(&request.exec_id, request.signal, request.all)
            .await?;
        Ok(empty())
    }

    async fn pids(&self, request: &proto::ContainerRequest) -> Result<Vec<u8>> {
        let pids = self.task(&request.id)?.pids().await?;
        let processes = pids.into_iter().map(|(pid, exec_id)| proto::ProcessInfo {
            pid,
            info: exec_id.map(|exec_id| {
                let details = proto::ProcessDetails { exec_id };
                Any::of("containerd.runc.v1.ProcessDetails", &details)
            }),
        });
        let processes = processes.collect();
        Ok(proto::PidsResponse { processes }.encode_to_vec())
    }

    async fn pause(&self, request: &proto::ContainerRequest) -> Result<Vec<u8>> {
        self.task(&request.id)?.pause().await?;
        Ok(empty())
    }

    async fn resume(&self, request: &proto::ContainerRequest) -> Result<Vec<u8>> {
        self.task(&request.id)?.resume().await?;
        Ok(empty())
    }

    fn resize(&self, request: &proto::ResizePtyRequest) -> Result<Vec<u8>> {
        let process = self.task(&request.id)?.process(&request.exec_id)?;
        process.resize(request.width, request.height)?;
        Ok(empty())
    }

    fn close_io(&self, request: &proto::CloseIoRequest) -> Result<Vec<u8>> {
        let process = self.task(&request.id)?.process(&request.exec_id)?;
        if request.stdin {
            process.close_input();
        }
        Ok(empty())
    }

    async fn update(&self, request: &proto::UpdateTaskRequest) -> Result<Vec<u8>> {
        let task = self.task(&request.id)?;
        let resources = request.resources.as_ref();
        let resources = resources
            .ok_or_else(|| Fault::new(Code::InvalidArgument, "update has no resources"))?;
        task.update(&resources.value).await?;
        Ok(empty())
    }

    async fn stats(&self, request: &proto::ContainerRequest) -> Result<Vec<u8>> {
        let stats = self.task(&request.id)?.stats().await?;
        Ok(proto::StatsResponse { stats: Some(stats) }.encode_to_vec())
    }

    fn connect(&self, request: &proto::ContainerRequest) -> Result<Vec<u8>> {
        let response = proto::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self.task(&request.id).map_or(0, |t| t.init.pid.get()),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        Ok(response.encode_to_vec())
    }

    fn shutdown(&self) -> Vec<u8> {
        // Other containers of the pod still need it.
        if self.tasks.borrow().is_empty() && self.coming.borrow().is_empty() {
            self.over.notify_one();
        }
        empty()
    }
}
