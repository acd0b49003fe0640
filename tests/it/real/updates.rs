//! Updates in a real guest: its own apt and systemd, a repository and a proxy inside it, and packages made for it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use stevedore::check::Wish;
use stevedore::guest::channel::{GuestChannel, Script};
use stevedore::guest::updates::{
    PackageManager, Proxy, UpdateEnd, UpdateOrder, UpdateResult, UpdateSight, UpdateState, look, reboot, start,
};
use tokio::time::sleep;

use super::lab::{BOOT, DEADLINE, boot, inside_well, report, trial};
use crate::guest::updates::{PASSWORD, proxy};

/// Makes a package `probe` of the version `$1` whose postinst is on standard input: `install` installs it, anything else puts
/// it into the repository, as the only one there.
const PACKAGE: &str = r#"set -e
work=$(mktemp -d)
mkdir -p "$work/DEBIAN" "$work/etc" /root/repo
printf 'Package: probe\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: probe\n' \
    "$1" >"$work/DEBIAN/control"
echo "version $1" >"$work/etc/probe.conf"
echo /etc/probe.conf >"$work/DEBIAN/conffiles"
{ echo '#!/bin/sh' && cat; } >"$work/DEBIAN/postinst"
chmod 755 "$work" "$work/DEBIAN" "$work/DEBIAN/postinst"
file=/root/repo/probe_$1.deb
dpkg-deb --root-owner-group --build "$work" "$file" >/dev/null
rm -r "$work"
if [ "$2" = install ]; then
    dpkg -i "$file"
else
    {
        dpkg-deb -f "$file"
        printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n' "${file##*/}" "$(stat -c %s "$file")" \
            "$(sha256sum "$file" | cut -d ' ' -f 1)"
    } >/root/repo/Packages
fi"#;

/// A proxy on port 3128 of the guest behind which every host is the repository. `$1`: the SHA-256 of the login that it asks
/// for, so that the login itself is nowhere.
const PROXY: &str = r#"set -e
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] http://deb.lab/ ./' >/etc/apt/sources.list
cat >/root/proxy.py <<'END'
import hashlib, http.server, sys, urllib.parse
class Proxy(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        told = self.headers.get('Proxy-Authorization', '')
        if hashlib.sha256(told.encode()).hexdigest() != sys.argv[1]:
            self.send_response(407)
            self.send_header('Proxy-Authenticate', 'Basic realm="lab"')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.path = urllib.parse.urlparse(self.path).path
        super().do_GET()
http.server.ThreadingHTTPServer(('127.0.0.1', 3128), Proxy).serve_forever()
END
systemd-run --quiet --unit=lab-proxy -p WorkingDirectory=/root/repo python3 /root/proxy.py "$1"
until grep -q ':0C38 ' /proc/net/tcp; do sleep 1; done"#;

/// Notes what is to be seen of the words in /root/words, one a line, by everybody and in memory, while the update runs; and
/// asks for a reboot.
const LOOKS_AROUND: &str = r"mkdir -p /root/seen
cat /proc/[0-9]*/cmdline >/root/seen/cmdlines
{ systemctl show 'stevedore-update-*' && systemctl cat 'stevedore-update-*'; } >/root/seen/units
find /run /etc /var /tmp -xdev -type f -perm /077 -exec grep -laF -f /root/words {} + >/root/seen/readable
grep -rlaF -f /root/words /run >/root/seen/in-memory
true >/run/reboot-required
exit 0
";

/// Whether nothing was seen where it must not be, and something where it must.
const SEEN_NOWHERE: &str = "for file in cmdlines units; do ! grep -aF -f /root/words /root/seen/$file || exit 1; done; \
                            [ ! -s /root/seen/readable ] && grep -q stevedore/updates/op-proxied /root/seen/in-memory";

/// Whether nothing is left of the words.
const LEFT_NOWHERE: &str = "! grep -rlaF -f /root/words /run /etc /var /tmp && ! journalctl --no-pager | grep -aF -f /root/words \
                            && [ -z \"$(ls /run/stevedore/updates)\" ] \
                            && [ -z \"$(find /var/lib/stevedore -perm /077)\" ]";

/// Holds the lock of dpkg as a package manager does.
const HOLDS_LOCK: &str = "systemd-run --quiet --unit=lab-holder python3 -c \
                          'import fcntl, time; f = open(\"/var/lib/dpkg/lock-frontend\", \"w\"); fcntl.lockf(f, fcntl.LOCK_EX); \
                          time.sleep(3600)' && sleep 2";

/// Runs a program with arguments and input inside the guest, which must end well.
pub(super) async fn run(guest: &dyn GuestChannel, text: &'static str, args: &[&str], input: &[u8]) {
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    let output = guest.run(Script { name: "test", text }, &args, input, DEADLINE).await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.exit_code, Some(0), "{text}: {said}");
}

pub(super) fn order(seconds: u64, proxy: Option<Proxy>) -> UpdateOrder {
    UpdateOrder { timeout: Duration::from_secs(seconds), proxy }
}

/// The proxy inside the guest, with the login of the table.
pub(super) fn own_proxy() -> Proxy {
    Proxy { url: "http://127.0.0.1:3128".into(), ..proxy() }
}

async fn updated(guest: &dyn GuestChannel, operation: &str, order: &UpdateOrder) -> UpdateEnd {
    updated_by(PackageManager::Apt, guest, operation, order).await
}

/// Starts an update, twice, and waits for its end.
pub(super) async fn updated_by(
    manager: PackageManager,
    guest: &dyn GuestChannel,
    operation: &str,
    order: &UpdateOrder,
) -> UpdateEnd {
    let begun = Instant::now();
    for _ in 0..2 {
        start(guest, operation, order, DEADLINE).await.unwrap();
    }
    loop {
        match look(guest, operation, DEADLINE).await.unwrap().state {
            UpdateState::Ended(end) => {
                report(&format!("update {operation}: {:?}", end.result), begun);
                assert_eq!(end.manager, Some(manager));
                return end;
            }
            UpdateState::Running => sleep(Duration::from_secs(1)).await,
            other => panic!("{operation}: {other:?}"),
        }
    }
}

/// What is seen of an update when the guest answers in another boot than this.
pub(super) async fn seen_after(guest: &dyn GuestChannel, operation: &str, boot_id: &str) -> UpdateSight {
    let begun = Instant::now();
    loop {
        match look(guest, operation, DEADLINE).await {
            Ok(sight) if sight.boot_id != boot_id => return sight,
            answer => assert!(begun.elapsed() < BOOT, "the guest does not boot anew: {answer:?}"),
        }
        sleep(Duration::from_secs(2)).await;
    }
}

fn failed(end: &UpdateEnd) -> &str {
    match &end.result {
        UpdateResult::Failed(text) => text,
        other => panic!("{other:?}"),
    }
}

/// What a client that knows the login tells the proxy.
fn login() -> String {
    format!("Basic {}", STANDARD.encode(format!("ann@lab:{PASSWORD}")))
}

/// Starts the proxy inside the guest, which no boot does by itself.
pub(super) async fn open_way(guest: &dyn GuestChannel) {
    let sum = format!("{:x}", Sha256::digest(login().as_bytes()));
    run(guest, PROXY, &[&sum], b"").await;
}

async fn furnish(guest: &dyn GuestChannel) {
    run(guest, PACKAGE, &["1.0", "install"], b"").await;
    run(guest, PACKAGE, &["2.0", "offer"], LOOKS_AROUND.as_bytes()).await;
    open_way(guest).await;
    let encoded = percent_encoding::utf8_percent_encode(PASSWORD, percent_encoding::NON_ALPHANUMERIC);
    let words = format!("{PASSWORD}\n{encoded}\n{}\n", login());
    run(guest, "umask 077; cat >/root/words; echo 'of this worker' >>/etc/probe.conf", &[], words.as_bytes()).await;
}

async fn what_stands_in_the_way_is_told(guest: &dyn GuestChannel) {
    let end = updated(guest, "op-no-way", &order(600, None)).await;
    assert!(failed(&end).contains("Failed to fetch http://deb.lab/"), "{end:?}");
    let stranger = Proxy { credentials: None, ..own_proxy() };
    let end = updated(guest, "op-no-login", &order(600, Some(stranger))).await;
    assert!(failed(&end).contains("407"), "{end:?}");
    inside_well(guest, HOLDS_LOCK).await;
    let end = updated(guest, "op-locked", &order(40, Some(own_proxy()))).await;
    let UpdateResult::TimedOut(text) = &end.result else { panic!("{end:?}") };
    assert!(text.contains("lock-frontend. It is held by process ") && text.contains("(python3)"), "{text}");
    inside_well(guest, "systemctl stop lab-holder").await;
}

async fn an_update_goes_through_a_proxy_and_leaves_nothing_of_it(guest: &dyn GuestChannel) -> UpdateEnd {
    let end = updated(guest, "op-proxied", &order(600, Some(own_proxy()))).await;
    let told = (&end.result, end.packages, end.pending, end.reboot_needed);
    assert_eq!(told, (&UpdateResult::Done, 1, 0, true));
    inside_well(guest, "grep -q '^of this worker' /etc/probe.conf && dpkg-query -W probe | grep -q '2[.]0'").await;
    inside_well(guest, SEEN_NOWHERE).await;
    inside_well(guest, LEFT_NOWHERE).await;
    end
}

/// An update that is cut off in the middle of a package is mended by the next one.
async fn what_was_cut_off_is_mended(guest: &dyn GuestChannel, cut: impl FnOnce()) {
    run(guest, PACKAGE, &["3.0", "offer"], b"true >/root/halfway; [ -e /root/quick ] || sleep 3000\n").await;
    start(guest, "op-cut", &order(3000, Some(own_proxy())), DEADLINE).await.unwrap();
    inside_well(guest, "until [ -e /root/halfway ]; do sleep 1; done; true >/root/quick; sync").await;
    let before = look(guest, "op-cut", DEADLINE).await.unwrap();
    assert_eq!(before.state, UpdateState::Running);
    cut();
    let after = seen_after(guest, "op-cut", &before.boot_id).await;
    assert_eq!(after.state, UpdateState::Lost, "{after:?}");
    open_way(guest).await;
    let end = updated(guest, "op-mended", &order(600, Some(own_proxy()))).await;
    assert_eq!(end.result, UpdateResult::Done);
    inside_well(guest, "dpkg-query -W -f '${Status}' probe | grep -q '^install ok installed$'").await;
    // What earlier boots left was taken away.
    let forgotten = look(guest, "op-cut", DEADLINE).await.unwrap();
    assert_eq!(forgotten.state, UpdateState::NotStarted);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_real_guest_is_updated_as_a_simulated_one() {
    let (trial, _turn) = trial(&[]).await;
    let wish = Wish::of("w1", 5000);
    trial.deploy(&wish).await.unwrap();
    let guest = boot(&trial, &wish).await;
    furnish(&*guest).await;
    what_stands_in_the_way_is_told(&*guest).await;
    let end = an_update_goes_through_a_proxy_and_leaves_nothing_of_it(&*guest).await;

    let begun = Instant::now();
    reboot(&*guest, &end.boot_id, DEADLINE).await.unwrap();
    let after = seen_after(&*guest, "op-proxied", &end.boot_id).await;
    report("the reboot after the update", begun);
    let UpdateState::Ended(kept) = &after.state else { panic!("{after:?}") };
    assert_eq!((&kept.result, &kept.boot_id), (&end.result, &end.boot_id));
    reboot(&*guest, &end.boot_id, DEADLINE).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    let later = look(&*guest, "op-proxied", DEADLINE).await.unwrap();
    assert_eq!(later.boot_id, after.boot_id, "it leaves a boot once");

    open_way(&*guest).await;
    let current = updated(&*guest, "op-current", &order(600, Some(own_proxy()))).await;
    assert_eq!((current.result, current.packages, current.reboot_needed), (UpdateResult::Done, 0, false));
    what_was_cut_off_is_mended(&*guest, || trial.simulator.world(|world| world.reboot_machine(wish.id))).await;
}
