package check

// firstPhase is run after the first start. It leaves the pod `web` and its objects behind for restartedPhase.
var firstPhase = []step{
	{"node Ready", nodeReady},
	{"objects created", createObjects},
	{"pods Running, own addresses", podsRunning},
	{"pod with host network", hostNetwork},
	{"logs", logs},
	{"exec", execute},
	{"HTTP from pod to pod", podToPod},
	{"HTTP from node to pod", nodeToPod},
	{"emptyDir volume", emptyDir},
	{"ConfigMap volume", configMapVolume},
	{"Secret volume", secretVolume},
	{"RBAC refuses, and allows", accessControl},
	{"LimitRange fills in, and refuses", limitRange},
	{"ResourceQuota counts, and refuses", resourceQuota},
	{"stats/summary: node", summaryOfNode},
	{"stats/summary: containers", summaryOfContainers},
	{"metrics/cadvisor", cadvisorMetrics},
	{"root's type in a pod", rootType},
	{"emptyDir's type in a pod", emptyDirType},
	{"one tracer over all processes", oneTracer},
	{"pod deleted", deletePod},
}

// keptPhase is run after firstPhase, where there is time for it: what is lost with a kubelet that has no figures, or made
// ones, of its containers. All is made by the first step and gone after the last.
var keptPhase = []step{
	{"objects of kept.yaml created", createKept},
	{"status of a crashed container", crashStatus},
	{"status of a running container", runningStatus},
	{"PersistentVolume, kept across pods", persistentVolume},
	{"a pod gets load", loadBegun},
	{"stats/summary: ephemeral storage", ephemeralStorage},
	{"eviction by ephemeral storage", evictions},
	{"metrics-server: API available", metricsAPI},
	{"kubectl top node", topNode},
	{"kubectl top pod", topPods},
	{"autoscaled up by CPU", scaledUp},
	{"autoscaled down again", scaledDown},
	{"objects of kept.yaml deleted", deleteKept},
}

// restartedPhase is run after the node was stopped and started again on the same directories.
var restartedPhase = []step{
	{"restarted: node Ready", nodeReady},
	{"restarted: ConfigMap kept", configMapKept},
	{"restarted: pod Running again", podsRunningAgain},
	{"restarted: emptyDir kept", emptyDirKept},
	{"restarted: deleted pod stays so", deletedStaysDeleted},
}
