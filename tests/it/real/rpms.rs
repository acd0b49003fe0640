//! Updates by dnf in a real guest: Debian with dnf and without apt-get, a repository inside it, and packages made for it.

use std::time::Instant;

use stevedore::check::Wish;
use stevedore::guest::channel::GuestChannel;
use stevedore::guest::updates::{PackageManager, Proxy, UpdateResult, UpdateState, look, reboot, start};

use super::lab::{DEADLINE, boot, inside_well, report, trial_of};
use super::stage::image_with_dnf;
use super::updates::{open_way, order, own_proxy, run, seen_after, updated_by};

/// Makes a package of the name `$1` and the version `$2`, with what runs at its installation on standard input: `install`
/// installs it, `offer` puts it into the repository as the only one there, `add` beside what is there; `$4` is what it
/// requires. It provides its own shell: of Debian's, rpm knows nothing.
const PACKAGE: &str = r#"set -e
export HOME=/root
work=$(mktemp -d)
{
    printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: probe\nLicense: none\nBuildArch: noarch\n' "$1" "$2"
    printf 'Provides: /bin/sh\n'
    [ -z "$4" ] || printf 'Requires: %s\n' "$4"
    printf '%%description\nprobe\n%%files\n%%post\n'
    cat
} >"$work/probe.spec"
rpmbuild --quiet -bb --define "_topdir $work" --define "_rpmdir $work/rpms" "$work/probe.spec" >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
}
mkdir -p /root/repo
if [ "$3" = install ]; then
    rpm -i "$work"/rpms/noarch/*.rpm
else
    [ "$3" = add ] || rm -rf /root/repo/*
    mv "$work"/rpms/noarch/*.rpm /root/repo/
    createrepo_c --quiet /root/repo
fi
rm -r "$work""#;

/// A guest as those are that dnf is at home in, with a repository that the proxy leads to. Of the plugins that Debian has,
/// only the one that tells of reboots works there.
const FURNISHED: &str = "set -e
find /usr/lib/python3/dist-packages/dnf-plugins -name '*.py' ! -name needs_restarting.py ! -name __init__.py -delete
mv /usr/bin/apt-get /usr/bin/apt-get.away
mkdir -p /etc/yum.repos.d /etc/dnf
printf '[lab]\\nname=lab\\nbaseurl=http://rpm.lab/\\ngpgcheck=0\\n' >/etc/yum.repos.d/lab.repo
[ -s /etc/dnf/dnf.conf ] || printf '[main]\\n' >/etc/dnf/dnf.conf";

async fn offer(guest: &dyn GuestChannel, name: &str, version: &str, script: &str) {
    run(guest, PACKAGE, &[name, version, "offer", ""], script.as_bytes()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_guest_with_dnf_is_updated() {
    let (trial, _turn) = trial_of(&image_with_dnf(), &[]).await;
    let wish = Wish::of("w1", 5000);
    trial.deploy(&wish).await.unwrap();
    let guest = boot(&trial, &wish).await;
    let guest = &*guest;
    inside_well(guest, FURNISHED).await;
    run(guest, PACKAGE, &["probe", "1.0", "install", ""], b"true\n").await;
    // A package of this name wants a reboot, says dnf. It is new, as a kernel is.
    offer(guest, "linux-firmware", "1.0", "true").await;
    run(guest, PACKAGE, &["probe", "2.0", "add", "linux-firmware"], b"true\n").await;
    let updated = async |operation: &str, seconds: u64, proxy: Option<Proxy>| {
        updated_by(PackageManager::Dnf, guest, operation, &order(seconds, proxy)).await
    };
    let end = updated("op-no-way", 900, None).await;
    let UpdateResult::Failed(text) = &end.result else { panic!("{end:?}") };
    assert!(text.contains("rpm.lab") && !end.reboot_needed, "{text}");

    open_way(guest).await;
    let end = updated("op-rpm", 900, Some(own_proxy())).await;
    let told = (&end.result, end.packages, end.pending, end.reboot_needed);
    assert_eq!(told, (&UpdateResult::Done, 2, 0, true));
    inside_well(
        guest,
        "HOME=/root rpm -q probe linux-firmware | grep -q -- 'probe-2[.]0-1' && [ -z \"$(ls /run/stevedore/updates)\" ]",
    )
    .await;

    let begun = Instant::now();
    reboot(guest, &end.boot_id, DEADLINE).await.unwrap();
    let after = seen_after(guest, "op-rpm", &end.boot_id).await;
    report("the reboot after the update by dnf", begun);
    assert!(matches!(&after.state, UpdateState::Ended(kept) if kept.result == UpdateResult::Done), "{after:?}");

    open_way(guest).await;
    let current = updated("op-current", 900, Some(own_proxy())).await;
    assert_eq!((current.result, current.packages, current.reboot_needed), (UpdateResult::Done, 0, false));

    // One that takes its time holds the lock of whoever has something to install.
    offer(guest, "probe", "3.0", "true >/root/halfway; sleep 3000").await;
    start(guest, "op-slow", &order(3000, Some(own_proxy())), DEADLINE).await.unwrap();
    inside_well(guest, "until [ -e /root/halfway ]; do sleep 1; done").await;
    run(guest, PACKAGE, &["linux-firmware", "2.0", "add", ""], b"true\n").await;
    let locked = updated("op-locked", 60, Some(own_proxy())).await;
    let UpdateResult::TimedOut(text) = &locked.result else { panic!("{locked:?}") };
    assert!(text.starts_with("Waiting for process with pid "), "{text}");
    assert_eq!(look(guest, "op-slow", DEADLINE).await.unwrap().state, UpdateState::Running);
}
