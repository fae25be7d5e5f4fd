//! From the text of a file to objects and diagnostics.

use std::sync::Arc;

use super::authorization_policy;
use super::codes;
use super::destination_rule;
use super::diagnostic::Diagnostic;
use super::document::{self, Document, ParseError};
use super::findings::{Findings, Listing, Subject};
use super::header::{self, Class};
use super::local_workload;
use super::object::{Kind, Object, ObjectId, Spec};
use super::peer_authentication;
use super::request_authentication;
use super::schema::{self, Message};
use super::service_entry;
use super::sidecar;
use super::tree::{Cursor, Node, Path, Spot, Value};
use super::virtual_service;
use super::workload_entry;

/// A document that holds no usable object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `None` when the document could not be read far enough to tell which object it was to be.
    pub id: Option<ObjectId>,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    pub objects: Vec<Object>,
    pub broken: Vec<Broken>,
    pub diagnostics: Vec<Diagnostic>,
    /// Whether some document is not YAML, or no object at all (exit status 65 of `analyze`).
    pub unparsable: bool,
}

/// Texts of at least this many bytes are read by several threads.
const LARGE: usize = 1 << 20;
const THREADS: usize = 4;
/// Documents of more bytes than this are read one after the other, as each may take much memory.
const LARGE_DOCUMENT: usize = 1 << 18;

/// Reads every document of `text`; `file` is named in origins and diagnostics.
pub fn decode(file: &str, text: &str) -> Decoded {
    let file: Arc<str> = file.into();
    let documents = document::split(text);
    let is_small = |document: &Document<'_>| document.text.len() <= LARGE_DOCUMENT;
    if text.len() < LARGE || !documents.iter().all(is_small) {
        return decode_documents(&file, &documents).finish();
    }
    std::thread::scope(|scope| {
        let file = &file;
        let threads: Vec<_> = documents
            .chunks(documents.len().div_ceil(THREADS).max(1))
            .map(|documents| scope.spawn(move || decode_documents(file, documents)))
            .collect();
        let mut all = Decoder::new(file);
        for thread in threads {
            all.append(thread.join().expect("reading a document never panics"));
        }
        all.finish()
    })
}

fn decode_documents(file: &Arc<str>, documents: &[Document<'_>]) -> Decoder {
    let mut decoder = Decoder::new(file);
    for document in documents {
        match document::parse(*document) {
            Ok(node) => decoder.read_document(node),
            Err(error) => decoder.report_syntax(error),
        }
    }
    decoder
}

/// Why a document is no tree, as a finding about the file alone.
pub(super) fn syntax_finding(file: &Arc<str>, error: ParseError) -> Findings {
    let mut findings = Findings::new(unknown_subject(file));
    match error {
        ParseError::Syntax {
            line, tab: true, ..
        } => {
            let spot = Spot::new(&Path::Root, line);
            findings.error(
                codes::SYNTAX,
                spot,
                "the line is indented with a tab, which YAML does not allow",
                "indent with spaces",
            );
        }
        ParseError::Syntax { line, message, .. } => {
            let spot = Spot::new(&Path::Root, line);
            let hint = "correct the document; the others in the file are read all the same";
            findings.error(
                codes::SYNTAX,
                spot,
                format!("the document is not YAML: {message}"),
                hint,
            );
        }
        ParseError::TooLarge { line, excess } => {
            let spot = Spot::new(&Path::Root, line);
            let (message, hint) = excess.sentences();
            findings.error(codes::TOO_LARGE, spot, message, hint);
        }
    }
    findings
}

/// A subject of which only the file is known.
pub(super) fn unknown_subject(file: &Arc<str>) -> Subject {
    Subject {
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
        file: Arc::clone(file),
    }
}

struct Decoder {
    file: Arc<str>,
    /// Without its diagnostics.
    decoded: Decoded,
    diagnostics: Listing,
}

impl Decoder {
    fn new(file: &Arc<str>) -> Self {
        Self {
            file: Arc::clone(file),
            decoded: Decoded::default(),
            diagnostics: Listing::of_file(),
        }
    }

    /// Adds what was read of the documents behind.
    fn append(&mut self, other: Self) {
        self.decoded.objects.extend(other.decoded.objects);
        self.decoded.broken.extend(other.decoded.broken);
        self.decoded.unparsable |= other.decoded.unparsable;
        self.diagnostics.append(other.diagnostics);
    }

    fn finish(mut self) -> Decoded {
        self.decoded.diagnostics = self.diagnostics.into_diagnostics();
        self.decoded
    }

    fn report_syntax(&mut self, error: ParseError) {
        let findings = syntax_finding(&self.file, error);
        self.decoded.unparsable = true;
        self.close(findings, Some(Broken { id: None }));
    }

    fn close(&mut self, findings: Findings, broken: Option<Broken>) {
        // One that is unknown says as much as many.
        if self.decoded.broken.last() != broken.as_ref() {
            self.decoded.broken.extend(broken);
        }
        for diagnostic in findings.into_diagnostics() {
            self.diagnostics.push(diagnostic);
        }
    }

    fn read_document(&mut self, node: Node) {
        match node.value {
            Value::Null => {}
            Value::Map(_) => self.read_object(node),
            _ => self.report_no_object(
                &node,
                &format!("the document is {}, not an object", node.value.noun()),
            ),
        }
    }

    fn report_no_object(&mut self, node: &Node, message: &str) {
        let mut findings = Findings::new(unknown_subject(&self.file));
        let spot = Spot::new(&Path::Root, node.line);
        findings.error(
            codes::NO_OBJECT,
            spot,
            message,
            "an object has apiVersion, kind, metadata and spec",
        );
        self.decoded.unparsable = true;
        self.close(findings, Some(Broken { id: None }));
    }

    fn read_object(&mut self, node: Node) {
        let Some(kind) = node
            .text_of("kind")
            .filter(|kind| !kind.is_empty())
            .map(str::to_owned)
        else {
            return self.report_no_object(&node, "the document has no kind, so it is no object");
        };
        let api_version = node.text_of("apiVersion").unwrap_or_default().to_owned();
        let class = header::classify(&api_version, &kind);
        if class == Class::List {
            return self.read_list(node);
        }
        let mut findings = Findings::new(self.subject_of(&node, &kind));
        if let Class::CarriedOut(kind) = class {
            return self.read_carried_out(node, kind, findings);
        }
        let cursor = Cursor::new(&node, Path::Root);
        let broken =
            report_class(class, &api_version, &kind, &cursor, &mut findings).map(|meant| Broken {
                id: Some(id_of(meant, &findings.subject)),
            });
        self.close(findings, broken);
    }

    fn read_list(&mut self, mut node: Node) {
        match node.take("items").map(|items| items.value) {
            Some(Value::List(items)) => items.into_iter().for_each(|item| match item.value {
                Value::Map(_) => self.read_object(item),
                _ => self.report_no_object(&item, "an item of the list is no object"),
            }),
            None => {}
            Some(_) => self.report_no_object(&node, "`items` is not a list"),
        }
    }

    fn subject_of(&self, node: &Node, kind: &str) -> Subject {
        let text = |name| {
            node.get("metadata")
                .and_then(|metadata| metadata.text_of(name))
                .unwrap_or_default()
        };
        let namespace = match text("namespace") {
            // It is in none.
            _ if kind == "Namespace" => "",
            "" => "default",
            namespace => namespace,
        };
        Subject {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: text("name").to_owned(),
            file: Arc::clone(&self.file),
        }
    }

    fn read_carried_out(&mut self, mut node: Node, kind: Kind, mut findings: Findings) {
        schema::conform(&mut node, &header::OBJECT, &Path::Root, &mut findings);
        let spec = node.take("spec").or_else(|| empty_spec(kind, &node));
        let id = id_of(kind, &findings.subject);
        let object = Cursor::new(&node, Path::Root);
        let metadata = Path::Field(&Path::Root, "metadata");
        if id.name.is_empty() {
            let line = node.get("metadata").unwrap_or(&node).line;
            let spot = Spot::new(&Path::Field(&metadata, "name"), line);
            findings.error(
                codes::METADATA,
                spot,
                "the object has no name",
                "write metadata.name",
            );
        }
        let meta = header::read_meta(&object, id.clone(), &self.file);
        let spec = if let Some(spec) = spec {
            read_spec(kind, spec, &meta, &object, &mut findings)
        } else {
            let hint = "write what it is to say below spec";
            findings.error(
                codes::NO_SPEC,
                object.spot_of("spec"),
                "the object has no spec",
                hint,
            );
            None
        };
        match spec {
            Some(spec) if !findings.has_errors() => {
                self.decoded.objects.push(Object { meta, spec });
                self.close(findings, None);
            }
            _ => self.close(
                findings,
                Some(Broken {
                    id: Some(id).filter(|id| !id.name.is_empty()),
                }),
            ),
        }
    }
}

fn id_of(kind: Kind, subject: &Subject) -> ObjectId {
    ObjectId {
        kind,
        namespace: subject.namespace.clone(),
        name: subject.name.clone(),
    }
}

/// A namespace need not have any.
fn empty_spec(kind: Kind, object: &Node) -> Option<Node> {
    (kind == Kind::Namespace).then(|| Node {
        line: object.line,
        value: Value::Map(Vec::new()),
    })
}

/// `None` where the spec does not even conform to its schema.
fn read_spec(
    kind: Kind,
    mut spec: Node,
    meta: &super::object::Meta,
    object: &Cursor<'_>,
    findings: &mut Findings,
) -> Option<Spec> {
    let path = Path::Field(&Path::Root, "spec");
    schema::conform(&mut spec, schema_of(kind), &path, findings);
    if kind != Kind::AuthorizationPolicy {
        authorization_policy::refuse_dry_run(object, findings);
    }
    if findings.has_errors() {
        return None;
    }
    let spec = Cursor::new(&spec, path);
    let status = object.node.get("status");
    match kind {
        Kind::ServiceEntry => {
            service_entry::read(&spec, meta, status, findings).map(Spec::ServiceEntry)
        }
        Kind::WorkloadEntry => {
            workload_entry::read_object(&spec, meta, status, findings).map(Spec::WorkloadEntry)
        }
        Kind::DestinationRule => {
            let rule = destination_rule::read(&spec, meta, findings);
            Some(Spec::DestinationRule(rule))
        }
        Kind::VirtualService => {
            let service = virtual_service::read(&spec, meta, findings);
            Some(Spec::VirtualService(service))
        }
        Kind::Namespace => Some(Spec::Namespace),
        Kind::Sidecar => Some(Spec::Sidecar(sidecar::read(&spec, meta, findings))),
        Kind::LocalWorkload => local_workload::read(&spec, findings).map(Spec::LocalWorkload),
        Kind::AuthorizationPolicy => {
            let policy = authorization_policy::read(&spec, object, meta, findings);
            Some(Spec::AuthorizationPolicy(policy))
        }
        Kind::PeerAuthentication => {
            let policy = peer_authentication::read(&spec, findings);
            Some(Spec::PeerAuthentication(policy))
        }
        Kind::RequestAuthentication => {
            let policy = request_authentication::read(&spec, findings);
            Some(Spec::RequestAuthentication(policy))
        }
    }
}

fn schema_of(kind: Kind) -> &'static Message {
    match kind {
        Kind::ServiceEntry => &service_entry::SCHEMA,
        Kind::WorkloadEntry => &workload_entry::SCHEMA,
        Kind::DestinationRule => &destination_rule::SCHEMA,
        Kind::VirtualService => &virtual_service::SCHEMA,
        Kind::LocalWorkload => &local_workload::SCHEMA,
        Kind::Namespace => &header::NAMESPACE,
        Kind::Sidecar => &sidecar::SCHEMA,
        Kind::AuthorizationPolicy => &authorization_policy::SCHEMA,
        Kind::PeerAuthentication => &peer_authentication::SCHEMA,
        Kind::RequestAuthentication => &request_authentication::SCHEMA,
    }
}

/// Says why an object is not carried out. `Some` where it was meant to be, as that kind.
fn report_class(
    class: Class,
    api_version: &str,
    kind: &str,
    object: &Cursor<'_>,
    findings: &mut Findings,
) -> Option<Kind> {
    let at_kind = object.spot_of("kind");
    match class {
        Class::CarriedOut(_) | Class::List => None,
        Class::WrongVersion(meant) => {
            let message = match api_version {
                "" => format!("apiVersion is missing, so this is not Istio's {kind}"),
                _ => format!("`{api_version}` is not an apiVersion of {kind}"),
            };
            findings.error(
                codes::API_VERSION,
                object.spot_of("apiVersion"),
                message,
                format!(
                    "write apiVersion: {}",
                    header::group_of(meant).api_version()
                ),
            );
            Some(meant)
        }
        Class::Misspelt(name) => {
            let meant = header::carried_out(name);
            let message = format!("there is no kind `{kind}`, so the object is ignored");
            let hint = format!("did you mean `{name}`?");
            if meant.is_some() {
                findings.error(codes::UNKNOWN_KIND, at_kind, message, hint);
            } else {
                findings.warning(codes::UNKNOWN_KIND, at_kind, message, hint);
            }
            meant
        }
        Class::Unknown => {
            let message = format!(
                "`{kind}` is not a kind of Istio's that is known, so the object is ignored"
            );
            findings.warning(codes::UNKNOWN_KIND, at_kind, message, "check the kind");
            None
        }
        Class::NotCarriedOut => {
            let message = format!("{kind} is not carried out, so the object has no effect");
            let hint = "shunt carries out ServiceEntry, WorkloadEntry, DestinationRule, VirtualService, Sidecar, AuthorizationPolicy, PeerAuthentication and its own LocalWorkload";
            findings.warning(codes::KIND_NOT_CARRIED_OUT, at_kind, message, hint);
            None
        }
        Class::Foreign => {
            let message = format!("{kind} is not a kind of Istio's, so the object is ignored");
            findings.info(
                codes::FOREIGN_KIND,
                at_kind,
                message,
                "nothing to do, if it is here for others",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests;
