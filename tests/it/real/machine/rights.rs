//! A right that is missing is told with the command that grants it.

use std::process::Command;

/// What `simulate proxmox --guests qemu` says when a program starts it that takes something away first.
fn refusal(program: &str, arguments: &[&str]) -> String {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .arg(env!("CARGO_BIN_EXE_stevedore"))
        .args(["simulate", "proxmox", "--listen", "127.0.0.1:0", "--guests", "qemu"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "something stays");
    said
}

#[test]
#[ignore = "needs QEMU: make test-guests"]
fn who_may_not_make_a_network_is_told_how_to_get_one() {
    let said = refusal("setpriv", &["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
    let refused =
        "QEMU guests need a network namespace, and it was refused (unshare: unshare failed: Operation not permitted)";
    assert!(said.contains(refused), "{said}");
    assert!(
        said.contains("run this as root, or in a user namespace: unshare --user --map-root-user -- COMMAND"),
        "{said}"
    );
}

#[test]
#[ignore = "needs QEMU: make test-guests"]
fn who_has_no_network_cards_for_guests_is_told_how_to_get_them() {
    // As where the module is not loaded: in a mount namespace, so that nobody else misses it.
    let hide = "mount -t tmpfs none /dev/net && exec \"$@\"";
    let said = refusal("unshare", &["--mount", "--", "sh", "-c", hide, "sh"]);
    assert!(
        said.contains("QEMU guests need /dev/net/tun, and it cannot be opened (No such file or directory"),
        "{said}"
    );
    assert!(said.contains("as root, modprobe tun && chmod 666 /dev/net/tun"), "{said}");
}
