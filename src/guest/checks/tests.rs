use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;
use proptest::prelude::*;

use super::super::channel::{Output, Script};
use super::super::records::tests::printed;
use super::super::units::UnitProperties;
use super::Outcome::{Failed, Passed, Skipped};
use super::*;
use crate::clock::TimerClock;
use crate::domain::fault::FaultKind;

/// Answers each run with the next of its answers, whatever is asked, and remembers the questions.
#[derive(Debug)]
struct ScriptedGuest {
    answers: Mutex<VecDeque<Result<Output, Fault>>>,
    questions: Mutex<Vec<(&'static str, Vec<String>)>>,
}

impl ScriptedGuest {
    fn answering(answers: impl IntoIterator<Item = Result<Output, Fault>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), questions: Mutex::default() }
    }

    fn questions(&self) -> Vec<(&'static str, Vec<String>)> {
        self.questions.lock().unwrap().clone()
    }
}

#[async_trait]
impl GuestChannel for ScriptedGuest {
    async fn run(&self, script: Script, args: &[String], _: &[u8], _: Duration) -> Result<Output, Fault> {
        self.questions.lock().unwrap().push((script.name, args.to_vec()));
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Err(away()))
    }
}

fn away() -> Fault {
    Fault::new(FaultKind::GuestAway, "QEMU guest agent is not running")
}

#[allow(clippy::unnecessary_wraps)] // it is an answer among others that are faults
fn answer(text: &str) -> Result<Output, Fault> {
    Ok(printed(text.as_bytes().to_vec()))
}

/// The facts of a guest with `10.0.0.5` that has nothing wrong, with `more` records.
fn facts(more: &str) -> Result<Output, Fault> {
    answer(&format!(
        "script\tfacts\t1\nclock\tbegin\t1000\nclock\tend\t1000\ncloud-init\tdone\n\
         disk\t/\t10737418240\t5368709120\ndisk\t/var/lib\t10737418240\t5368709120\n\
         link\teth0\tbc:24:11:00:00:01\tUP\naddress\teth0\t10.0.0.5/24\tglobal\tok\n\
         address\teth0\tfe80::1/64\tlink\tok\nnameserver\t10.0.0.53\tresolv.conf\n{more}end\n"
    ))
}

const RESOLVED: &str = "script\tresolve\t1\nname\tpve1.lab\tok\t10.0.0.1\nname\trepo.lab\tok\t10.0.0.9\nend\n";
const CONNECTED: &str = "script\tconnect\t1\ntarget\tpve1.lab\t8006\tok\tnc\t\ntarget\t10.0.0.2\t8006\trefused\tnc\tno\n\
                         target\trepo.lab\t2049\tok\tnc\t\nend\n";
const SERVING: &str = "script\tunit\t1\nproperty\tLoadState\tloaded\nproperty\tActiveState\tactive\n\
                       property\tSubState\trunning\nproperty\tResult\tsuccess\nproperty\tExecMainStatus\t0\nend\n";

fn plan() -> CheckPlan {
    CheckPlan {
        networks: vec![ExpectedNetwork {
            name: "lan".into(),
            mac: "BC:24:11:00:00:01".into(),
            ipv4: AddressWanted::Assigned,
            ipv6: AddressWanted::Nothing,
        }],
        endpoints: vec![Endpoint::new("pve1.lab", 8006), Endpoint::new("10.0.0.2", 8006)],
        connect: vec![ConnectTarget { name: "repository".into(), at: Endpoint::new("repo.lab", 2049) }],
        unit: Some("backup-agent.service".into()),
        ..CheckPlan::default()
    }
}

async fn check(guest: &ScriptedGuest, plan: &CheckPlan, seen: &[GuestAddress]) -> Vec<CheckResult> {
    let clock = TimerClock::starting_at(Timestamp::from_second(1000).unwrap());
    run_checks(guest, plan, seen, &clock, Duration::from_secs(30)).await
}

async fn check_facts(plan: &CheckPlan, more: &str) -> Vec<CheckResult> {
    check(&ScriptedGuest::answering([facts(more)]), plan, &[]).await
}

fn outcomes(results: &[CheckResult]) -> Vec<(&str, Outcome)> {
    results.iter().map(|result| (result.name.as_str(), result.outcome)).collect()
}

fn message<'a>(results: &'a [CheckResult], name: &str) -> &'a str {
    &results.iter().find(|result| result.name == name).unwrap().message
}

#[tokio::test(start_paused = true)]
async fn a_healthy_guest_passes_every_check_with_four_questions() {
    let guest = ScriptedGuest::answering([facts(""), answer(RESOLVED), answer(CONNECTED), answer(SERVING)]);
    let results = check(&guest, &plan(), &[]).await;
    let expected = ["address/lan", "dns", "hypervisor-api", "connect/repository", "service", "clock", "disk"];
    assert_eq!(outcomes(&results), expected.map(|name| (name, Passed)), "{results:#?}");
    let questions = guest.questions();
    let lists = questions.iter().map(|(name, args)| format!("{name} {}", args.join(" "))).collect::<Vec<_>>();
    assert_eq!(
        lists,
        [
            "facts 15",
            "resolve 10 pve1.lab repo.lab",
            "connect 5 pve1.lab 8006 10.0.0.2 8006 repo.lab 2049",
            "unit backup-agent.service 15"
        ]
    );
    assert_eq!(message(&results, "address/lan"), "has 10.0.0.5/24, fe80::1/64");
    assert_eq!(message(&results, "hypervisor-api"), "reaches pve1.lab:8006");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_asked_for_is_not_looked_up() {
    let guest = ScriptedGuest::answering([facts("")]);
    let results = check(&guest, &CheckPlan::default(), &[]).await;
    assert_eq!(outcomes(&results), ["dns", "clock", "disk"].map(|name| (name, Passed)));
    assert_eq!(guest.questions().len(), 1);
    assert_eq!(message(&results, "dns"), "uses 10.0.0.53");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_goes_away_keeps_the_results_until_then() {
    let guest = ScriptedGuest::answering([facts(""), answer(RESOLVED), Err(away())]);
    let results = check(&guest, &plan(), &[]).await;
    assert_eq!(
        outcomes(&results),
        [
            ("guest", Failed),
            ("address/lan", Passed),
            ("dns", Passed),
            ("hypervisor-api", Skipped),
            ("connect/repository", Skipped),
            ("service", Skipped),
            ("clock", Passed),
            ("disk", Passed)
        ]
    );
    let text = message(&results, "guest");
    assert!(text.contains("running the script \"connect\": QEMU guest agent is not running"), "{text}");
    assert_eq!(guest.questions().len(), 3, "a guest that is away is not asked again");
}

#[tokio::test(start_paused = true)]
async fn a_script_that_babbles_fails_its_checks_and_no_others() {
    let guest = ScriptedGuest::answering([facts(""), answer("?\n"), answer(CONNECTED), answer("\u{1}\n")]);
    let results = check(&guest, &plan(), &[]).await;
    let failed: Vec<_> = results.iter().filter(|result| result.outcome == Failed).collect();
    assert_eq!(failed.len(), 2, "{failed:#?}");
    assert!(message(&results, "dns").starts_with("the script \"resolve\" in the guest did not begin"));
    assert!(message(&results, "service").starts_with("the script \"unit\" in the guest gave an unreadable answer"));
}

fn network(ipv4: AddressWanted, ipv6: AddressWanted) -> CheckPlan {
    CheckPlan { networks: vec![ExpectedNetwork { ipv4, ipv6, ..plan().networks[0].clone() }], ..CheckPlan::default() }
}

fn fixed(ip: &str, prefix: u8) -> AddressWanted {
    AddressWanted::Static { ip: ip.parse().unwrap(), prefix }
}

#[tokio::test(start_paused = true)]
async fn static_addresses_must_be_there_with_their_prefix() {
    let right = check_facts(&network(fixed("10.0.0.5", 24), AddressWanted::Nothing), "").await;
    assert_eq!(right[0].outcome, Passed);
    for wanted in [fixed("10.0.0.6", 24), fixed("10.0.0.5", 16)] {
        let wrong = check_facts(&network(wanted, AddressWanted::Nothing), "").await;
        assert_eq!(wrong[0].outcome, Failed);
        assert!(wrong[0].message.contains("found 10.0.0.5/24, fe80::1/64"), "{}", wrong[0].message);
    }
    let taken = "address\teth0\t2001:db8::5/64\tglobal\tdadfailed\n";
    let wrong = check_facts(&network(AddressWanted::Nothing, fixed("2001:db8::5", 64)), taken).await;
    assert!(wrong[0].message.contains("2001:db8::5/64 (another machine has it too)"), "{}", wrong[0].message);
}

#[tokio::test(start_paused = true)]
async fn link_local_addresses_do_not_count_as_assigned() {
    let without = check_facts(&network(AddressWanted::Nothing, AddressWanted::Assigned), "").await;
    assert_eq!(without[0].outcome, Failed);
    assert!(without[0].message.contains("expected an IPv6 address that the network assigns"));
    let lease = "address\teth0\t2001:db8::7/128\tglobal\ttentative\n";
    let with = check_facts(&network(AddressWanted::Nothing, AddressWanted::Assigned), lease).await;
    assert_eq!(with[0].outcome, Passed);
}

#[tokio::test(start_paused = true)]
async fn a_missing_card_is_named_with_what_there_is() {
    let mut plan = network(AddressWanted::Assigned, AddressWanted::Nothing);
    plan.networks[0].mac = "bc:24:11:00:00:02".into();
    let results = check_facts(&plan, "").await;
    let text = &results[0].message;
    assert!(text.contains("MAC address BC:24:11:00:00:02, the guest has eth0 (BC:24:11:00:00:01)"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_hypervisors_view_counts_where_the_guest_cannot_tell() {
    let plan = network(AddressWanted::Assigned, AddressWanted::Nothing);
    let seen = [GuestAddress { mac: "BC:24:11:00:00:01".into(), address: "10.0.0.8".parse().unwrap(), prefix: 24 }];
    let guest = || {
        let text =
            "script\tfacts\t1\nclock\tbegin\t1000\nclock\tend\t1000\nproblem\tip\tthere is no such program\nend\n";
        ScriptedGuest::answering([answer(text)])
    };
    assert_eq!(check(&guest(), &plan, &seen).await[0].message, "has 10.0.0.8/24");
    assert_eq!(check(&guest(), &plan, &[]).await[0].outcome, Failed);
}

#[tokio::test(start_paused = true)]
async fn names_that_do_not_resolve_are_named_with_the_servers() {
    let resolved = "script\tresolve\t1\nname\tpve1.lab\tnot-found\nname\trepo.lab\ttimed-out\nend\n";
    let guest = ScriptedGuest::answering([facts(""), answer(resolved)]);
    let results = check(&guest, &plan(), &[]).await;
    assert_eq!(
        message(&results, "dns"),
        "expected all names to resolve, but pve1.lab was not found, repo.lab got no answer in time; look whether the \
         guest's name servers (10.0.0.53) answer and know the names"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_is_judged_by_its_state() {
    let of = |load: &str, active: &str, sub: &str, result: &str, status: &str| {
        let properties = Ok(UnitProperties {
            load: load.into(),
            active: active.into(),
            sub: sub.into(),
            result: result.into(),
            main_status: status.into(),
        });
        service::judge("agent.service", &properties)
    };
    assert_eq!(of("loaded", "active", "running", "success", "0").unwrap(), "agent.service is active (running)");
    let failed = of("loaded", "failed", "failed", "exit-code", "203").unwrap_err();
    assert!(failed.contains("found failed (failed, exit-code 203); `journalctl -u agent.service`"), "{failed}");
    assert!(of("loaded", "inactive", "dead", "success", "0").unwrap_err().contains("found inactive (dead)"));
    assert!(of("not-found", "inactive", "dead", "success", "0").unwrap_err().contains("has no such unit"));
    assert!(of("masked", "inactive", "dead", "success", "0").unwrap_err().contains("is masked"));
    assert!(service::judge("agent.service", &Err("systemctl: no bus".into())).unwrap_err().contains("no bus"));
}

#[test]
fn a_later_result_takes_the_place_of_an_earlier_one() {
    let passed = |name: &str| CheckResult::passed(name, Duration::ZERO, "");
    let earlier = vec![CheckResult::deployed(Duration::ZERO, &[]), CheckResult::guest(Duration::ZERO, Ok(()))];
    let later = vec![CheckResult::guest(Duration::ZERO, Err(&away())), passed("dns")];
    let merged = merge(earlier, later);
    assert_eq!(outcomes(&merged), [("deployed", Passed), ("guest", Failed), ("dns", Passed)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_output_makes_the_checks_panic(outputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let results = runtime.block_on(async {
            let guest = ScriptedGuest::answering(outputs.into_iter().map(|bytes| Ok(printed(bytes))));
            check(&guest, &plan(), &[]).await
        });
        prop_assert_eq!(results.len(), 7);
        prop_assert!(results.iter().all(|result| result.outcome == Failed));
    }
}
