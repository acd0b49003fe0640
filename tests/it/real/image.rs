//! The worker image: what is unique to each machine made of it, and what it leaves alone.

use std::time::Instant;

use stevedore::check::Wish;

use super::lab::{boot, inside_well, report, trial};

const IDENTITY: &str = "blkid -o value -s UUID \"$(findmnt -n -o SOURCE /)\"; cat /etc/machine-id; \
                        cat /etc/ssh/ssh_host_ed25519_key.pub; hostname";

/// Prints accounts with a password, and files with keys that open a shell.
const KEYS: &str = "grep -v '^[^:]*:[!*]' /etc/shadow; \
                    find /root /home -name authorized_keys -exec grep -L 'Please login as the user' {} +";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn two_machines_of_one_image_share_nothing_that_must_be_their_own() {
    let begun = Instant::now();
    let (trial, _turn) = trial(&[]).await;
    let wishes = [Wish::of("w1", 5001), Wish { uefi: true, ..Wish::of("w2", 5002) }];
    let mut known: Vec<Vec<String>> = Vec::new();
    for wish in &wishes {
        trial.deploy(wish).await.unwrap();
        let guest = boot(&trial, wish).await;
        let said = inside_well(&*guest, IDENTITY).await;
        known.push(said.lines().map(str::to_owned).collect());
        // Nobody can log in by a password, and nobody has a key but those of the declaration; root's only say so.
        let said = inside_well(&*guest, KEYS).await;
        assert_eq!(said.trim(), "/home/stevedore/.ssh/authorized_keys");
        // The package manager's lock is free, and the root file system is as large as the disk.
        inside_well(&*guest, "apt-get check").await;
        inside_well(&*guest, "test $(df --output=size -k / | tail -n 1) -gt 9000000").await;
        // Booted by the firmware that was asked for, with nothing that failed.
        let said =
            inside_well(&*guest, "test -d /sys/firmware/efi && echo uefi || echo bios; systemctl --failed --no-legend")
                .await;
        assert_eq!(said.trim(), if wish.uefi { "uefi" } else { "bios" });
        assert!(trial.shuts_down(wish, super::lab::BOOT).await.unwrap());
    }
    for (one, other) in known[0].iter().zip(&known[1]) {
        assert_ne!(one, other, "{known:#?}");
    }
    assert_eq!((known[0].len(), known[1].len()), (4, 4), "{known:#?}");
    report("two machines of one image, by BIOS and by UEFI", begun);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn foreign_disks_are_left_alone_and_a_second_boot_finds_its_own_root() {
    let (trial, _turn) = trial(&[]).await;
    let wish = Wish::of("w3", 5003);
    trial.deploy(&wish).await.unwrap();
    let guest = boot(&trial, &wish).await;
    let before = inside_well(&*guest, IDENTITY).await;
    assert!(trial.shuts_down(&wish, super::lab::BOOT).await.unwrap());
    // Another disk of the very same image, as a protected VM may have it, in front of its own.
    trial.set(&wish, "scsi1", "local-lvm:0,import-from=local:import/worker.qcow2").await.unwrap();
    let guest = boot(&trial, &wish).await;
    assert_eq!(inside_well(&*guest, IDENTITY).await, before);
    let disks = inside_well(&*guest, "lsblk -n -r -o NAME,TYPE,MOUNTPOINT").await;
    assert_eq!(disks.lines().filter(|line| line.contains(" disk")).count(), 2, "{disks}");
    let mounted: Vec<&str> = disks.lines().filter(|line| line.contains('/')).collect();
    assert!(matches!(mounted[..], [root] if root.ends_with(" /")), "{disks}");
}
