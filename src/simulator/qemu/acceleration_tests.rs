use super::*;

#[test]
fn what_was_asked_for_is_not_tried() {
    let spec = |acceleration| QemuSpec { acceleration, ..QemuSpec::default() };
    let nowhere = Path::new("/nowhere");
    assert_eq!(known(&spec(Acceleration::Kvm), nowhere).unwrap().argument, "kvm");
    let software = known(&spec(Acceleration::Tcg), nowhere).unwrap();
    assert_eq!((software.argument, software.why.as_str()), (SOFTWARE, "software emulation, because it was asked for"));
}

#[test]
fn only_what_is_certain_is_kept_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let after = |found: &Found| {
        let cache = folder.path().join("cache");
        let _ = fs::remove_file(&cache);
        found.keep(&cache).unwrap();
        kept(&cache).map(|verdict| verdict.argument)
    };
    let (refusal, failure) = (Found::Refusal(String::new()), Found::Failure(String::new()));
    let all = [Found::Life, refusal, failure, Found::Silence];
    let seen = all.each_ref().map(|found| (found.verdict().argument, found.is_answer(), after(found)));
    assert_eq!(
        seen,
        [
            ("kvm", true, Some("kvm")),
            (SOFTWARE, true, Some(SOFTWARE)),
            (SOFTWARE, false, None),
            // An image that boots nowhere is no reason to do without KVM for good.
            (SOFTWARE, true, None),
        ]
    );
    assert!(Found::Silence.verdict().doubtful);
}

#[test]
fn a_qemu_that_ends_for_another_reason_says_nothing_about_kvm() {
    let of = |line: &str| Found::of_failure(&[line.to_owned()]);
    let refusal = "kvm: -accel kvm: failed to initialize kvm: Permission denied";
    assert_eq!(of(refusal), Found::Refusal(refusal.to_owned()));
    let memory = "kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory";
    assert_eq!(of(memory), Found::Failure(memory.to_owned()));
    assert_eq!(Found::of_failure(&[]), Found::Failure(String::new()));
}

#[test]
fn a_silent_machine_is_heard_only_by_what_a_system_says() {
    assert!(!has_sign("SeaBIOS (version 1.16.2)\nBooting from Hard Disk...\n"));
    assert!(has_sign("[    1.2] Run /init as init process\n"));
    // Nothing is waited for when the process is gone.
    assert!(!is_heard(Path::new("/nowhere"), &Weak::new()));
}
