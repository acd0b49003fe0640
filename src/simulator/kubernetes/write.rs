//! Changing requests: create, replace, the three patches, delete.

use serde_json::{Value, json};

use super::apply::{self, Applied};
use super::call::{Call, Target, Verb};
use super::document::{content, desired, has_new_finalizer, json_patched, keep_system_metadata, set};
use super::error::{Answer, Refusal};
use super::fields::Shape;
use super::owners::{Owner, Owners, Writer};
use super::schema::{self, Schema};
use super::store::{ObjectKey, Store, Stored};

/// What a write answers, and whether it changed anything.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) object: Value,
    pub(super) changed: bool,
    pub(super) created: bool,
}

impl Written {
    pub(super) fn answer(object: Value, changed: bool) -> Self {
        Self { object, changed, created: false }
    }
}

/// One changing request at work on the store.
pub(super) struct Write<'a> {
    pub(super) store: &'a mut Store,
    pub(super) call: &'a Call,
    /// The wall clock, RFC 3339 in whole seconds.
    pub(super) now: String,
}

/// Groups of Kubernetes itself whose objects have no generation, and may be replaced without a resourceVersion.
fn is_plain(group: &str) -> bool {
    matches!(group, "" | "coordination.k8s.io" | "events.k8s.io" | "rbac.authorization.k8s.io")
}

impl Write<'_> {
    pub(super) fn run(mut self) -> Answer<Written> {
        match self.call.verb {
            Verb::Create => self.create(self.call.body.clone(), None),
            Verb::Replace | Verb::JsonPatch | Verb::MergePatch => self.update(),
            Verb::Apply => self.apply(),
            Verb::Delete => self.delete_named(),
            Verb::DeleteAll | Verb::Get | Verb::List | Verb::Watch => Err(Refusal::method_not_allowed()),
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.call.target
    }

    fn schema(&self) -> Option<Schema> {
        self.store.schema(self.target()).cloned()
    }

    /// True if `status` can only be written through `/status`.
    fn keeps_status_apart(schema: Option<&Schema>) -> bool {
        schema.is_none_or(|schema| schema.has_status)
    }

    fn writer(&self, applies: bool) -> Writer {
        let subresource = self.target().subresource.clone();
        let owner = Owner { manager: self.call.field_manager(), applies, subresource };
        Writer { owner, api_version: self.target().api_version(), time: self.now.clone() }
    }

    fn key(&self) -> ObjectKey {
        ObjectKey::new(self.target(), self.target().name.as_deref().unwrap_or_default())
    }

    fn live(&self) -> Answer<Stored> {
        self.store.objects.get(&self.key()).cloned().ok_or_else(|| Refusal::not_found(self.target()))
    }

    fn create(&mut self, mut object: Value, owners: Option<Owners>) -> Answer<Written> {
        if self.target().subresource.is_some() {
            return Err(Refusal::no_such_path());
        }
        if !object.is_object() {
            return Err(Refusal::bad_request("the body must be an object"));
        }
        let schema = self.schema();
        if schema.as_ref().is_some_and(|schema| schema.namespaced != self.target().namespace.is_some()) {
            return Err(Refusal::no_such_path());
        }
        self.admit_namespace(&object)?;
        let name = self.name_for(&object)?;
        let key = ObjectKey::new(self.target(), &name);
        if self.store.objects.contains_key(&key) {
            return Err(Refusal::already_exists(self.target(), &name));
        }
        if object["metadata"].get("resourceVersion").is_some_and(|version| *version != json!("")) {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        if Self::keeps_status_apart(schema.as_ref()) {
            object.as_object_mut().and_then(|object| object.remove("status"));
        }
        self.stamp(&mut object, schema.as_ref(), &name);
        self.admit(&mut object, None, schema.as_ref())?;
        let owners = owners.unwrap_or_else(|| {
            let mut owners = Owners::default();
            owners.updated(&json!({}), &content(&object), Shape::Root(schema.as_ref()), &self.writer(false));
            owners
        });
        let written = self.commit(&key, None, Stored { object, owners });
        Ok(Written { created: true, ..written })
    }

    fn admit_namespace(&self, object: &Value) -> Answer<()> {
        let Some(namespace) = self.target().namespace.as_deref() else { return Ok(()) };
        match object["metadata"]["namespace"].as_str() {
            Some(other) if other != namespace => {
                return Err(Refusal::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            _ => {}
        }
        let known = self.store.objects.get(&ObjectKey::namespace_object(namespace));
        match known {
            None => Err(Refusal::no_such_namespace(namespace)),
            Some(known) if known.is_terminating() => Err(Refusal::terminating(self.target(), namespace)),
            Some(_) => Ok(()),
        }
    }

    fn name_for(&mut self, object: &Value) -> Answer<String> {
        let metadata = &object["metadata"];
        let given = metadata["name"].as_str().or(self.target().name.as_deref()).filter(|name| !name.is_empty());
        if let Some(name) = given {
            return Ok(name.to_owned());
        }
        let Some(prefix) = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty()) else {
            return Err(Refusal::invalid(self.target(), "metadata.name: Required value: name or generateName"));
        };
        Ok(format!("{prefix}{:05}", self.store.next_number()))
    }

    fn stamp(&mut self, object: &mut Value, schema: Option<&Schema>, name: &str) {
        let uid = self.store.next_uid();
        if let Some(schema) = schema {
            object["kind"] = json!(schema.kind);
        }
        object["apiVersion"] = json!(self.target().api_version());
        let namespace = self.target().namespace.clone();
        let is_plain = is_plain(&self.target().group);
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(name);
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(self.now);
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        if !is_plain {
            metadata["generation"] = json!(1);
        }
        if let Some(metadata) = metadata.as_object_mut() {
            for name in ["managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
                metadata.remove(name);
            }
        }
        if self.target().resource == "namespaces" && self.target().group.is_empty() {
            object["status"] = json!({"phase": "Active"});
        }
    }

    fn update(&mut self) -> Answer<Written> {
        let live = self.live()?;
        let body = &self.call.body;
        let wanted = match self.call.verb {
            Verb::Replace => body.clone(),
            Verb::MergePatch => {
                let mut wanted = live.wire();
                json_patch::merge(&mut wanted, body);
                wanted
            }
            _ => json_patched(live.wire(), body)?,
        };
        self.admit_identity(&live, &wanted)?;
        let schema = self.schema();
        let object = self.combine(&live, wanted, schema.as_ref())?;
        self.finish_update(&live, object, None, schema.as_ref())
    }

    fn apply(&mut self) -> Answer<Written> {
        let (schema, writer) = (self.schema(), self.writer(true));
        let mut body = self.call.body.clone();
        if !body.is_object() {
            return Err(Refusal::bad_request("the body must be an object"));
        }
        let unknown = schema.as_ref().map(|schema| schema.prune(&mut body.clone())).unwrap_or_default();
        if !unknown.is_empty() {
            return Err(Refusal::not_in_schema(&unknown));
        }
        let (status, apart) = (self.target().is_status(), Self::keeps_status_apart(schema.as_ref()));
        let asked_version = body["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|name, _| if status { name == "status" } else { !apart || name != "status" });
        }
        let force = self.call.is_set("force");
        let shape = Shape::Root(schema.as_ref());
        let Some(live) = self.store.objects.get(&self.key()).cloned() else {
            return self.apply_new(&body, asked_version.is_some(), shape, &writer);
        };
        if asked_version.is_some_and(|version| version != live.version()) {
            return Err(Refusal::stale(self.target()));
        }
        let Applied { object, owners } = apply::apply(&live.object, &live.owners, &body, shape, &writer, force)?;
        let object = self.combine(&live, object, schema.as_ref())?;
        self.finish_update(&live, object, Some(owners), schema.as_ref())
    }

    fn apply_new(&mut self, body: &Value, versioned: bool, shape: Shape<'_>, writer: &Writer) -> Answer<Written> {
        if self.target().subresource.is_some() {
            return Err(Refusal::not_found(self.target()));
        }
        if versioned {
            return Err(Refusal::stale(self.target()));
        }
        let Applied { mut object, owners } = apply::apply(&json!({}), &Owners::default(), body, shape, writer, true)?;
        object["kind"] = self.call.body["kind"].clone();
        self.create(object, Some(owners))
    }

    /// Refuses writes that were computed from another version of the object, or from another object.
    fn admit_identity(&self, live: &Stored, wanted: &Value) -> Answer<()> {
        let metadata = &wanted["metadata"];
        let version = metadata["resourceVersion"].as_str().unwrap_or_default();
        let replaces = self.call.verb == Verb::Replace;
        if version.is_empty() && replaces && (!self.target().group.is_empty()) {
            return Err(Refusal::invalid(
                self.target(),
                "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
            ));
        }
        if metadata["name"].as_str().is_some_and(|name| Some(name) != self.target().name.as_deref()) {
            return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
        }
        let other_uid = metadata["uid"].as_str().is_some_and(|uid| live.object["metadata"]["uid"] != uid);
        if other_uid && replaces && !self.target().is_status() {
            return Err(Refusal::conflict(self.target(), "Precondition failed: UID in precondition differs"));
        }
        if !version.is_empty() && version != live.version() {
            return Err(Refusal::stale(self.target()));
        }
        if other_uid && !self.target().is_status() {
            return Err(Refusal::invalid(self.target(), "metadata.uid: field is immutable"));
        }
        Ok(())
    }

    /// The live object with the part of `wanted` that this subresource writes.
    fn combine(&self, live: &Stored, mut wanted: Value, schema: Option<&Schema>) -> Answer<Value> {
        match self.target().subresource.as_deref() {
            None => {
                if Self::keeps_status_apart(schema) {
                    set(&mut wanted, "status", live.object.get("status"));
                }
                keep_system_metadata(&mut wanted, &live.object);
                Ok(wanted)
            }
            Some("status") if Self::keeps_status_apart(schema) => {
                let mut object = live.object.clone();
                set(&mut object, "status", wanted.get("status"));
                let applies = self.call.verb == Verb::Apply;
                if applies && schema.is_some_and(Schema::demands_status) && object["status"].is_null() {
                    let why = "status: Invalid value: \"null\": status in body must be of type object: \"null\"";
                    return Err(Refusal::invalid(self.target(), why));
                }
                Ok(object)
            }
            Some(_) => Err(Refusal::not_found(self.target())),
        }
    }

    fn finish_update(
        &mut self,
        live: &Stored,
        mut object: Value,
        owners: Option<Owners>,
        schema: Option<&Schema>,
    ) -> Answer<Written> {
        self.admit(&mut object, Some(&live.object), schema)?;
        if live.is_terminating() && has_new_finalizer(&live.object, &object) {
            let why = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted";
            return Err(Refusal::invalid(self.target(), why));
        }
        let owners = owners.unwrap_or_else(|| {
            let (mut owners, shape) = (live.owners.clone(), Shape::Root(schema));
            owners.updated(&content(&live.object), &content(&object), shape, &self.writer(false));
            owners
        });
        let counts = !is_plain(&self.target().group) && desired(&live.object) != desired(&object);
        if counts {
            let generation = live.object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = json!(generation);
        }
        Ok(self.commit(&self.key(), Some(live), Stored { object, owners }))
    }

    /// Defaults, pruning, and what the schema refuses (what the old object had already is let pass).
    fn admit(&self, object: &mut Value, old: Option<&Value>, schema: Option<&Schema>) -> Answer<()> {
        let Some(schema) = schema else { return Ok(()) };
        schema.fill_in(object);
        let pruned = schema.prune(object);
        if !pruned.is_empty() && self.call.parameter("fieldValidation") == Some("Strict") {
            let names: Vec<String> = pruned.iter().map(|path| format!("unknown field \"{path}\"")).collect();
            return Err(Refusal::bad_request(format!("strict decoding error: {}", names.join(", "))));
        }
        let known = old.map(|old| schema.faults(old)).unwrap_or_default();
        let new: Vec<String> = schema.faults(object).into_iter().filter(|fault| !known.contains(fault)).collect();
        if new.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.target(), &new.join(", "))) }
    }

    /// Stores the object unless nothing changed; an object on its way out goes with its last finalizer.
    fn commit(&mut self, key: &ObjectKey, live: Option<&Stored>, stored: Stored) -> Written {
        if live.is_some_and(|live| *live == stored) {
            return Written::answer(stored.wire(), false);
        }
        if self.call.dry_run() {
            return Written::answer(stored.wire(), false);
        }
        let gone = stored.is_terminating() && !stored.has_finalizers();
        let mut object = self.store.put(key.clone(), stored);
        if gone {
            object = self.store.remove(key).unwrap_or(object);
        }
        self.install(key, &object, gone);
        Written::answer(object, true)
    }

    /// A definition of a custom resource takes effect as soon as it is stored.
    fn install(&mut self, key: &ObjectKey, object: &Value, gone: bool) {
        if key.resource != "customresourcedefinitions" {
            return;
        }
        let mut before = schema::read(object);
        self.store.schemas.retain(|(group, plural, _), _| format!("{plural}.{group}") != key.name);
        if gone {
            return;
        }
        self.store.schemas.append(&mut before);
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Simulated", "message": "", "lastTransitionTime": self.now});
        if let Some(stored) = self.store.objects.get_mut(key) {
            stored.object["status"] = json!({
                "acceptedNames": object["spec"]["names"],
                "conditions": [condition("NamesAccepted"), condition("Established")],
                "storedVersions": object["spec"]["versions"].as_array().into_iter().flatten()
                    .filter(|version| version["storage"] == true).map(|version| version["name"].clone()).collect::<Vec<_>>(),
            });
        }
    }
}
