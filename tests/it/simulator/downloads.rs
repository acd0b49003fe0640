//! Downloading onto a storage, as `download_url` of pve-storage and `download_file_from_url` of pve-common do it; the
//! refusals for want of rights are recorded, on 9.2.

use stevedore::simulator::scenario::{DEMO_IMAGE, Release, Scenario};

use super::probe::Probe;

const LOCAL: &str = "/nodes/pve1/storage/local/download-url";
const FILE: &str = "stevedore-0a.qcow2";

fn checksum(algorithm: &str) -> String {
    let sum = Scenario::default_demo().checksum_of(DEMO_IMAGE, algorithm).unwrap();
    sum.split_once(':').unwrap().1.to_owned()
}

fn asked<'a>(filename: &'a str, rest: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("content", "import"), ("filename", filename), ("url", DEMO_IMAGE)], rest].concat()
}

#[tokio::test(start_paused = true)]
async fn a_download_is_a_task_that_names_the_file() {
    for release in [Release::V8, Release::V9] {
        let probe = Probe::new(Scenario::demo_of(release));
        let sum = checksum("sha256");
        let params = asked(FILE, &[("checksum", &sum), ("checksum-algorithm", "sha256")]);
        let upid = probe.send("POST", LOCAL, &params).await.ok();
        let text = upid.as_str().unwrap();
        assert!(text.contains(&format!(":download:{FILE}:stevedore@pve!operator:")), "{text}");
        let active = probe.send("GET", "/nodes/pve1/tasks", &[("source", "active")]).await.ok();
        assert_eq!((&active[0]["type"], &active[0]["id"]), (&"download".into(), &FILE.into()));
        assert_eq!(probe.wait(&upid).await, "OK");
        let log = probe.log(&upid).await;
        assert!(log[0].starts_with(&format!("downloading {DEMO_IMAGE} to /var/lib/vz/import/{FILE}")), "{log:?}");
        assert!(log.contains(&"calculating checksum...OK, checksum verified".to_owned()), "{log:?}");
        let kept = probe.send("GET", "/nodes/pve1/storage/local/content", &[("content", "import")]).await.ok();
        let kept = kept.as_array().unwrap().iter().find(|one| one["volid"] == format!("local:import/{FILE}")).unwrap();
        assert_eq!((&kept["format"], &kept["content"]), (&"qcow2".into(), &"import".into()));
        assert_eq!(kept["size"], 3_u64 << 30);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_there_is_checked_and_never_replaced() {
    let probe = Probe::demo();
    let (sum, long, wrong) = (checksum("sha256"), checksum("sha512"), "0".repeat(64));
    let by = |algorithm, digits| [("checksum", digits), ("checksum-algorithm", algorithm)];
    let run = async |rest: &[(&str, &str)]| probe.run("POST", LOCAL, &asked(FILE, rest)).await;
    assert_eq!(run(&by("sha256", &sum)).await, "OK");
    let upid = probe.send("POST", LOCAL, &asked(FILE, &by("sha512", &long))).await.ok();
    assert_eq!(probe.wait(&upid).await, "OK");
    let said = probe.log(&upid).await.join("\n");
    assert!(said.contains("got correct file already, no need to download"), "{said}");
    let mismatch = format!("checksum mismatch: got '{sum}' != expect '{wrong}', aborting");
    assert_eq!(run(&by("sha256", &wrong)).await, mismatch);
    assert_eq!(run(&[]).await, format!("refusing to override existing file '/var/lib/vz/import/{FILE}'"));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_at_once() {
    let probe = Probe::demo();
    let sum = checksum("sha256");
    let refusal = async |path: &str, params: &[(&str, &str)]| {
        let read = probe.send("POST", path, params).await;
        let errors = read.body["errors"].as_object().cloned().unwrap_or_default();
        let errors: Vec<String> = errors.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        (read.status, if errors.is_empty() { read.reason } else { errors.join("; ") })
    };
    let plain = asked(FILE, &[]);
    for (path, params, status, text) in [
        ("/nodes/pve1/storage/nope/download-url", plain.clone(), 500, "storage 'nope' does not exist"),
        (
            "/nodes/pve1/storage/local-lvm/download-url",
            plain.clone(),
            500,
            "can't upload to storage type 'lvmthin', not a file based storage!",
        ),
        (LOCAL, asked("worker.img", &[]), 400, "filename: \"invalid filename or wrong extension\""),
        (LOCAL, asked("worker.qcow2.xz", &[]), 400, "filename: \"invalid filename or wrong extension\""),
        (
            LOCAL,
            asked(FILE, &[("checksum", &sum)]),
            400,
            "checksum-algorithm: \"missing property - 'checksum' requires this property\"",
        ),
        (
            LOCAL,
            vec![("content", "images"), ("filename", FILE), ("url", DEMO_IMAGE)],
            400,
            "content: \"value 'images' does not have a value in the enumeration 'iso, vztmpl, import'\"",
        ),
        (
            LOCAL,
            vec![("content", "import"), ("filename", FILE), ("url", "ftp://x/y")],
            400,
            "url: \"value does not match the regex pattern\"",
        ),
    ] {
        assert_eq!(refusal(path, &params).await, (status, text.to_owned()), "{path} {params:?}");
    }
    let mut scenario = Scenario::default_demo();
    scenario.storages[0].content.retain(|kind| kind != "import");
    let without = Probe::new(scenario).send("POST", LOCAL, &plain).await;
    assert_eq!(without.reason, "storage 'local' is not configured for content-type 'import'");
}

#[tokio::test(start_paused = true)]
async fn the_rights_are_checked_one_after_the_other() {
    for (privilege, text) in [
        ("Datastore.AllocateTemplate", "Permission check failed (/storage/local, Datastore.AllocateTemplate)"),
        ("Sys.AccessNetwork", "Permission check failed"),
    ] {
        let mut scenario = Scenario::default_demo();
        scenario.roles.get_mut("Stevedore").unwrap().retain(|name| name != privilege);
        let read = Probe::new(scenario.clone()).send("POST", LOCAL, &asked(FILE, &[])).await;
        assert_eq!((read.status, read.reason.as_str()), (403, text));
        // The older right on everything is as good as the newer one on the node.
        scenario.roles.get_mut("Stevedore").unwrap().push("Sys.Modify".into());
        let read = Probe::new(scenario).send("POST", LOCAL, &asked(FILE, &[])).await;
        assert_eq!(read.status, if privilege == "Sys.AccessNetwork" { 200 } else { 403 });
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_image_can_be_imported() {
    let probe = Probe::demo();
    let params = [("vmid", "600"), ("scsi0", "local-lvm:0,import-from=local:iso/debian.iso")];
    let read = probe.send("POST", "/nodes/pve1/qemu", &params).await;
    let text = "local:iso/debian.iso has wrong type 'iso' - needs to be 'images' or 'import'";
    assert_eq!((read.status, &read.body["errors"]["scsi0"]), (400, &text.into()));
    let params = [("vmid", "600"), ("scsi0", "local-lvm:0,import-from=local:import/none.qcow2")];
    let end = probe.run("POST", "/nodes/pve1/qemu", &params).await;
    assert_eq!(end, "unable to create VM 600 - failed to stat '/var/lib/vz/import/none.qcow2'");
    assert_eq!(probe.send("GET", "/nodes/pve1/qemu/600/config", &[]).await.status, 500, "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_down_leaves_no_file() {
    let probe = Probe::demo();
    probe.send("POST", "/nodes/pve2/storage/nfs1/download-url", &asked(FILE, &[])).await.ok();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    probe.simulator.world(|world| world.power_cut("pve2"));
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let kept = probe.simulator.world(|world| world.volumes("pve1", "nfs1", "import"));
    assert_eq!(kept, ["import/debian-12-worker.qcow2"]);
}
