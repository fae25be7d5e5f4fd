//! What of a workload is told by labels, annotations and its status.

use super::super::decode::decode;
use super::super::object::Spec;

fn is_failing(annotation: &str, status: &str) -> bool {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w, annotations: {{{annotation}}}}}\nspec: {{address: 10.0.0.1}}\n{status}\n"
    );
    let decoded = decode("w.yaml", &text);
    assert_eq!(decoded.diagnostics, [], "{text}");
    match &decoded.objects[0].spec {
        Spec::WorkloadEntry(workload) => workload.failing,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_workload_with_health_checks_is_healthy_once_its_status_says_so() {
    let checked = "proxy.istio.io/health-checks-enabled: 'true'";
    for (status, failing) in [
        ("", true),
        ("status: {}", true),
        ("status: {conditions: []}", true),
        (
            "status: {conditions: [{type: Healthy, status: 'True'}]}",
            false,
        ),
        (
            "status: {conditions: [{type: Healthy, status: True}]}",
            false,
        ),
        (
            "status: {conditions: [{type: Healthy, status: 'False'}]}",
            true,
        ),
        (
            "status: {conditions: [{type: Ready, status: 'True'}]}",
            true,
        ),
        (
            "status: {conditions: [{type: Ready, status: 'False'}, {type: Healthy, status: 'True'}]}",
            false,
        ),
        ("status: nonsense", true),
    ] {
        assert_eq!(is_failing(checked, status), failing, "{status}");
    }
}

#[test]
fn a_workload_without_health_checks_is_healthy_whatever_its_status_says() {
    let unhealthy = "status: {conditions: [{type: Healthy, status: 'False'}]}";
    assert!(!is_failing("", unhealthy));
    assert!(!is_failing(
        "proxy.istio.io/health-checks-enabled: 'false'",
        unhealthy
    ));
}

fn network(metadata: &str, spec: &str) -> String {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w{metadata}}}\nspec: {{address: 10.0.0.1{spec}}}\n"
    );
    match &decode("w.yaml", &text).objects[0].spec {
        Spec::WorkloadEntry(workload) => workload.network.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_network_is_that_of_the_label_where_the_field_is_empty() {
    let label = ", labels: {topology.istio.io/network: n1}";
    assert_eq!(network("", ""), "");
    assert_eq!(network("", label), "n1");
    assert_eq!(network(label, ""), "n1");
    assert_eq!(network(label, ", network: n2"), "n2");
}
