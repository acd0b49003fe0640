//! What the cache leaves out stays in the status.

use serde_json::{Value, json};
use stevedore::api::Worker;

use super::Stage;
use crate::crash::world::{NAMESPACE, in_virtual_time};

#[test]
fn checks_that_passed_are_not_kept_and_not_lost() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        let checks = |stage: &Stage| stage.stored("workers", "w1").unwrap()["status"]["lastTest"]["checks"].take();
        let before = checks(&stage);
        assert!(before.as_array().is_some_and(|all| all.len() > 3), "{before}");
        // A process that has seen nothing but its cache tells of something else.
        let stage = stage.restarted().await;
        stage.edit::<Worker>("w1", json!({"spec": {"paused": true}})).await;
        let told = |stage: &Stage| {
            let object: Value = stage.stored("workers", "w1").unwrap();
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
        };
        stage.until("the pause is told", told).await;
        assert_eq!(checks(&stage), before);
        let workers = stage.context.workers.of(&(NAMESPACE.to_owned(), "lab".to_owned()));
        let kept = workers[0].status.as_ref().unwrap().last_test.as_ref().unwrap();
        assert_eq!((kept.result.as_str(), kept.checks.len()), ("Passed", 0));
    });
}
