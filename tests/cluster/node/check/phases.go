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

// restartedPhase is run after the node was stopped and started again on the same directories.
var restartedPhase = []step{
	{"restarted: node Ready", nodeReady},
	{"restarted: ConfigMap kept", configMapKept},
	{"restarted: pod Running again", podsRunningAgain},
	{"restarted: emptyDir kept", emptyDirKept},
	{"restarted: deleted pod stays so", deletedStaysDeleted},
}
