//! `stevedore check image`: an image that will do, and one that does not.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::lab::report;
use super::stage::{image, turn};

/// Runs the command; whether it ended well, and what it said.
fn check(arguments: &[&str], image: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stevedore"));
    let output = command.args(["check", "image"]).args(arguments).arg(image).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn the_worker_image_can_be_a_worker() {
    let (_turn, begun) = (turn().await, Instant::now());
    let (well, said) = tokio::task::spawn_blocking(|| check(&["--unit", "ssh.service"], &image())).await.unwrap();
    println!("{said}");
    assert!(well && said.ends_with("this image can be a worker\n"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("advice")).count(), 0);
    report("check image of the worker image", begun);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn an_image_of_nothing_is_said_to_boot_nothing() {
    let (_turn, folder) = (turn().await, tempfile::tempdir().unwrap());
    let empty = folder.path().join("empty.qcow2");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&empty).arg("1G").status();
    assert!(made.unwrap().success());
    let (well, said) = tokio::task::spawn_blocking(move || check(&["--patience", "15s"], &empty)).await.unwrap();
    assert!(!well && said.contains("FAULT   boot") && said.contains("1 of these keep the image"), "{said}");
    let (well, said) = check(&[], Path::new("/nosuch.qcow2"));
    assert!(!well && said.contains("/nosuch.qcow2 cannot be used as an image"), "{said}");
}
