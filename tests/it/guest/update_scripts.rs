//! The scripts around an update, run by every shell at hand with package managers that say what real ones say.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stevedore::guest::channel::Script;
use stevedore::guest::scripts::{IMAGE, TASK_START, TASK_UNIT, UPDATE, UPDATE_UNIT};

use super::scripts::{SHELLS, install, root};

const OPERATION: &str = "op-1";

/// A guest's folder, and a shell to run scripts there.
struct Stage {
    root: PathBuf,
    shell: &'static [&'static str],
}

impl Stage {
    /// One for each shell of this machine.
    async fn all(folder: &Path) -> Vec<Self> {
        let mut stages = Vec::new();
        for (name, shell) in SHELLS {
            match Command::new(shell[0]).args(&shell[1..]).args(["-c", "true"]).status() {
                Ok(_) => stages.push(Self { root: root(&folder.join(name)).await, shell }),
                Err(_) => eprintln!("{name} is not on this machine, so updates are not tried under it"),
            }
        }
        stages
    }

    fn command(&self, words: &[&str], input: &str) -> Command {
        let told = self.root.join("told");
        std::fs::write(&told, input).unwrap();
        let mut command = Command::new(self.shell[0]);
        command.args(&self.shell[1..]).args(words).env_clear().env("STEVEDORE_ROOT", &self.root);
        command.env("PATH", "/usr/bin:/bin").stdin(std::fs::File::open(told).unwrap()).stderr(Stdio::inherit());
        command
    }

    /// What a script answers.
    fn answer(&self, script: Script, args: &[&str], input: &str) -> String {
        let output = self.command(&[&["-c", script.text, script.name], args].concat(), input).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn start(&self, input: &str) -> String {
        self.answer(UPDATE, &[OPERATION, "60", UPDATE_UNIT.text], input)
    }

    /// What the unit runs, with its output where the unit's is.
    fn unit(&self, what: &str) {
        let script = self.own().join("unit");
        let output = std::fs::OpenOptions::new().create(true).append(true).open(self.own().join("output")).unwrap();
        let mut command = self.command(&[script.to_str().unwrap(), what, OPERATION], "");
        let status = command.stdout(output.try_clone().unwrap()).stderr(output).status();
        assert!(status.unwrap().success() || what == "ended", "{:?}", self.shell);
    }

    /// One update with this package manager, from its start to its result.
    fn update(&self, manager: &str, text: &str) -> Vec<String> {
        install(&self.root, manager, text);
        if manager == "dnf" {
            std::fs::remove_file(self.root.join("bin/apt-get")).unwrap();
        }
        assert!(self.start("").contains("\nstarted\top-1\n"));
        self.unit("run");
        self.unit("ended");
        self.result()
    }

    fn own(&self) -> PathBuf {
        self.root.join("run/stevedore/updates").join(OPERATION)
    }

    fn guard(&self) -> PathBuf {
        self.root.join("var/lib/stevedore/updates").join(OPERATION)
    }

    /// The result without its times: the word, the package manager, both counts, whether to reboot, and the text.
    fn result(&self) -> Vec<String> {
        let result = std::fs::read_to_string(self.guard().join("result")).unwrap();
        let lines: Vec<&str> = result.lines().collect();
        assert_eq!((lines.len(), lines[2]), (3, "end"), "{result}");
        lines[0].split(' ').take(5).chain([lines[1]]).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn apt_mends_what_was_cut_off_and_removes_kernels_that_it_does_not_keep_and_nothing_else() {
    // What apt-get 2.6 does with either option and without.
    let text = "#!/bin/sh\nset -f\nasked=\" $* \"\n\
        case $asked in\n*' update '*) exit 0 ;;\n\
        *' APT::Get::Fix-Broken=true '*) ;;\n\
        *) echo \"E: Unmet dependencies. Try 'apt --fix-broken install' with no packages\" >&2; exit 100 ;;\nesac\n\
        case $asked in\n*' autoremove '* | *'--auto'* | *'AutomaticRemove=true'*) echo 'E: removes too much' >&2; exit 100 ;;\n\
        *' APT::Get::AutomaticRemove::Kernels=true '*' upgrade '*) gone=2 ;;\n*) gone=0 ;;\nesac\n\
        echo \"3 upgraded, 1 newly installed, $gone to remove and 0 not upgraded.\"\n\
        [ \"$gone\" -eq 2 ] || { echo 'E: /boot is full' >&2; exit 100; }\n";
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        assert_eq!(stage.update("apt-get", text), ["done", "apt", "3", "0", "no", ""], "{:?}", stage.shell);
    }
}

/// What dnf says at the end of an upgrade, and what it must be counted as.
const SUMMARIES: [(&str, &str); 3] = [
    ("Install  3 Packages\\nUpgrade  2 Packages", "5"),
    ("Install  1 Package", "1"),
    (" Installing:         1 package\\n Upgrading:          4 packages\\n Replacing:          4 packages", "5"),
];

#[tokio::test]
async fn dnf_counts_new_kernels_and_what_is_locked_or_excluded() {
    for (summary, count) in SUMMARIES {
        let text = format!(
            "#!/bin/sh\nset -f\ncase \" $* \" in\n*' upgrade '*) printf 'Transaction Summary\\n{summary}\\n' ;;\n\
             *' --disableplugin=versionlock --setopt=disable_excludes=all,* check-update '*)\n\
             printf 'locked.noarch 2.0-1 lab\\nexcluded.x86_64 2.0-1 lab\\n'; exit 100 ;;\nesac\n"
        );
        let folder = tempfile::tempdir().unwrap();
        for stage in Stage::all(folder.path()).await {
            assert_eq!(stage.update("dnf", &text), ["done", "dnf", count, "2", "no", ""], "{:?}", stage.shell);
        }
    }
}

#[tokio::test]
async fn a_dnf_that_does_not_know_how_to_put_locks_aside_is_asked_plainly() {
    let text = "#!/bin/sh\ncase \" $* \" in\n*' --disableplugin='*) echo 'Unknown argument' >&2; exit 2 ;;\n\
                *' check-update '*) echo 'held.noarch 2.0-1 lab'; exit 100 ;;\nesac\n";
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        assert_eq!(stage.update("dnf", text), ["done", "dnf", "0", "1", "no", ""], "{:?}", stage.shell);
    }
}

/// A disk with room for nothing but the result.
#[tokio::test]
async fn an_update_that_fills_the_disk_leaves_its_result_and_no_secret() {
    let text = "#!/bin/sh\nmkdir -p \"$STEVEDORE_ROOT/var/lib/stevedore/updates/op-1/output/in-the-way\"\n\
                echo 'E: write error - write (28: No space left on device)' >&2\nexit 100\n";
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        install(&stage.root, "apt-get", text);
        stage.start("http://ann:hunter22@proxy.lab:1/\nhunter22\n");
        assert!(stage.guard().join("room").metadata().unwrap().len() >= 8192);
        stage.unit("run");
        stage.unit("ended");
        let text = "write error - write (28: No space left on device)";
        assert_eq!(stage.result(), ["failed", "apt", "0", "0", "no", text], "{:?}", stage.shell);
        assert!(!stage.own().exists() && !stage.guard().join("room").exists(), "{:?}", stage.shell);
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_leaves_no_secret_either() {
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        install(&stage.root, "apt-get", "#!/bin/sh\nexit 100\n");
        stage.start("http://ann:hunter22@proxy.lab:1/\nhunter22\n");
        assert!(stage.own().join("proxy").exists());
        stage.unit("run");
        std::fs::remove_dir_all(stage.guard()).unwrap();
        stage.unit("ended");
        assert!(!stage.own().exists(), "{:?}", stage.shell);
    }
}

#[tokio::test]
async fn a_password_is_hidden_before_anything_is_cut() {
    let filling = "x".repeat(480);
    let text = format!("#!/bin/sh\necho 'E: {filling} http://ann:hunter22hunter22@proxy.lab:1/' >&2\nexit 100\n");
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        install(&stage.root, "apt-get", &text);
        stage.start("http://ann:hunter22hunter22@proxy.lab:1/\nann:hunter22hunter22\nhunter22hunter22\n");
        stage.unit("run");
        stage.unit("ended");
        let said = stage.result().pop().unwrap();
        assert!(said.contains("xx http://***@") && !said.contains("hunt"), "{:?}: {said}", stage.shell);
        let kept = std::fs::read_to_string(stage.guard().join("output")).unwrap();
        assert!(kept.contains("http://***@proxy.lab") && !kept.contains("hunt"), "{:?}: {kept}", stage.shell);
    }
}

/// 18 MiB in little time, and a last word.
#[tokio::test]
async fn what_is_printed_without_end_does_not_fill_the_memory() {
    let text = "#!/bin/sh\nfor _ in 1 2 3 4; do seq 700000; done\nsleep 5\necho 'E: the last word' >&2\nexit 100\n";
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        install(&stage.root, "apt-get", text);
        stage.start("");
        stage.unit("run");
        let size = stage.own().join("output").metadata().unwrap().len();
        assert!(size < 1 << 20, "{:?}: {size}", stage.shell);
        stage.unit("ended");
        assert_eq!(stage.result()[5], "the last word", "{:?}", stage.shell);
        let kept = std::fs::read_to_string(stage.guard().join("output")).unwrap();
        // What was cut was cut in between two lines.
        assert!(kept.starts_with('6') && kept.lines().next().unwrap().len() == 6, "{:?}", stage.shell);
    }
}

/// A `sync` after which the guest has been up for so long that nobody waits for a start any more.
const SLOW_DISK: &str = "#!/bin/sh\nread -r up rest <\"$STEVEDORE_ROOT/proc/uptime\"\n\
                         rm -f \"$STEVEDORE_ROOT/proc/uptime\"\necho \"$((${up%.*} + 45)).00 $rest\" >\"$STEVEDORE_ROOT/proc/uptime\"\n";

#[tokio::test]
async fn a_start_that_is_late_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        install(&stage.root, "sync", SLOW_DISK);
        assert!(stage.start("").contains("\nstarted\top-1\n"), "{:?}", stage.shell);
        assert_eq!(
            stage.result(),
            ["failed", "none", "0", "0", "no", "it took too long to bring its guard to the disk"]
        );
        assert_eq!(std::fs::read_dir(stage.root.join("run/units")).unwrap().count(), 0, "{:?}", stage.shell);
    }
}

#[tokio::test]
async fn a_systemd_that_is_too_old_is_refused_and_an_image_tells_which_it_has() {
    let folder = tempfile::tempdir().unwrap();
    for stage in Stage::all(folder.path()).await {
        for (version, will_do) in [("239", false), ("244", false), ("245", true), ("257~rc1", true)] {
            install(&stage.root, "systemctl", &format!("#!/bin/sh\necho 'systemd {version} ({version}-1)'\n"));
            let tasks = stage.answer(TASK_START, &["a.1", "2", "root", "60", TASK_UNIT.text], "k 4\ntrue");
            let updates = if will_do { String::new() } else { stage.start("") };
            let why = format!(
                "problem\tsystemd-run\tsystemd has version {version} here, and 245 is the oldest that will do\n"
            );
            assert_eq!(tasks.contains(&why), !will_do, "{:?}: {tasks}", stage.shell);
            assert_eq!(updates.contains(&why), !will_do, "{:?}: {updates}", stage.shell);
            let number = version.split('~').next().unwrap();
            let told = stage.answer(IMAGE, &["nobody"], "");
            assert!(told.contains(&format!("\nsystemd\t{number}\n")), "{:?}: {told}", stage.shell);
        }
    }
}
