package crictl

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime is a container runtime with three containers, two pods and four images.
type fakeRuntime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	lock       sync.Mutex
	containers []*runtimeapi.Container
	pods       []*runtimeapi.PodSandbox
	images     []*runtimeapi.Image
	logPath    string
	auth       *runtimeapi.AuthConfig
}

const (
	webID   = "1111111111111111aaaaaaaaaaaaaaaa"
	sqlID   = "2222222222222222aaaaaaaaaaaaaaaa"
	oldID   = "3333333333333333aaaaaaaaaaaaaaaa"
	webPod  = "4444444444444444aaaaaaaaaaaaaaaa"
	sqlPod  = "5555555555555555aaaaaaaaaaaaaaaa"
	webImg  = "sha256:6666666666666666aaaaaaaaaaaaaaaa"
	sqlImg  = "sha256:7777777777777777aaaaaaaaaaaaaaaa"
	idleImg = "sha256:8888888888888888aaaaaaaaaaaaaaaa"
	baseImg = "sha256:9999999999999999aaaaaaaaaaaaaaaa"
)

func container(id, pod, name, image string, state runtimeapi.ContainerState, age time.Duration) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id: id, PodSandboxId: pod, State: state, CreatedAt: time.Now().Add(-age).UnixNano(),
		Metadata: &runtimeapi.ContainerMetadata{Name: name, Attempt: 1},
		Image:    &runtimeapi.ImageSpec{Image: image}, ImageRef: image,
		Labels: map[string]string{"io.kubernetes.pod.name": name + "-0", "io.kubernetes.pod.namespace": "shop"},
	}
}

func newFakeRuntime() *fakeRuntime {
	running, exited := runtimeapi.ContainerState_CONTAINER_RUNNING, runtimeapi.ContainerState_CONTAINER_EXITED
	return &fakeRuntime{
		containers: []*runtimeapi.Container{
			container(oldID, webPod, "web", webImg, exited, 3*time.Hour),
			container(sqlID, sqlPod, "postgres", sqlImg, running, 2*time.Hour),
			container(webID, webPod, "web", webImg, running, time.Hour),
		},
		pods: []*runtimeapi.PodSandbox{
			{Id: webPod, State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: time.Now().Add(-3 * time.Hour).UnixNano(),
				Metadata: &runtimeapi.PodSandboxMetadata{Name: "web-0", Namespace: "shop", Uid: "u1"}},
			{Id: sqlPod, State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY, CreatedAt: time.Now().Add(-2 * time.Hour).UnixNano(),
				Metadata: &runtimeapi.PodSandboxMetadata{Name: "postgres-0", Namespace: "data", Uid: "u2"}},
		},
		images: []*runtimeapi.Image{
			{Id: webImg, RepoTags: []string{"registry.example:5000/web:1.0"}, Size: 12345678},
			{Id: sqlImg, RepoTags: []string{"docker.io/library/postgres:15"}, RepoDigests: []string{"docker.io/library/postgres@sha256:abcdefabcdefabcd"}, Size: 353000000},
			{Id: idleImg, RepoTags: []string{"docker.io/library/busybox:1.36"}, Size: 2000000},
			{Id: baseImg, RepoTags: []string{"docker.io/rancher/mirrored-pause:3.10"}, Size: 700000},
		},
	}
}

func (f *fakeRuntime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "containerd", RuntimeVersion: "1.6.20", RuntimeApiVersion: "v1"}, nil
}

func (f *fakeRuntime) Status(_ context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	out := &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true}}}}
	if r.Verbose {
		out.Info = map[string]string{"config": `{"sandboxImage":"docker.io/rancher/mirrored-pause:3.10"}`, "golang": "go1.19"}
	}
	return out, nil
}

func (f *fakeRuntime) ListContainers(_ context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	out := &runtimeapi.ListContainersResponse{}
	for _, c := range f.containers {
		if s := r.GetFilter().GetState(); s != nil && s.State != c.State {
			continue
		}
		if p := r.GetFilter().GetPodSandboxId(); p != "" && p != c.PodSandboxId {
			continue
		}
		out.Containers = append(out.Containers, c)
	}
	return out, nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	for _, c := range f.containers {
		if strings.HasPrefix(c.Id, r.ContainerId) {
			out := &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
				Id: c.Id, Metadata: c.Metadata, State: c.State, CreatedAt: c.CreatedAt, StartedAt: c.CreatedAt, Image: c.Image, ImageRef: c.ImageRef, LogPath: f.logPath}}
			if r.Verbose {
				out.Info = map[string]string{"info": `{"pid":42}`}
			}
			return out, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such container")
}

func (f *fakeRuntime) ListPodSandbox(_ context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	out := &runtimeapi.ListPodSandboxResponse{}
	for _, p := range f.pods {
		if s := r.GetFilter().GetState(); s == nil || s.State == p.State {
			out.Items = append(out.Items, p)
		}
	}
	return out, nil
}

func (f *fakeRuntime) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	for _, p := range f.pods {
		if p.Id == r.PodSandboxId {
			return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{Id: p.Id, Metadata: p.Metadata, State: p.State, CreatedAt: p.CreatedAt,
				Network: &runtimeapi.PodSandboxNetworkStatus{Ip: "10.42.0.7"}}, Info: map[string]string{"info": "not JSON"}}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such pod")
}

func (f *fakeRuntime) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}

func (f *fakeRuntime) find(name string) *runtimeapi.Image {
	for _, i := range f.images {
		if i.Id == name || (len(i.RepoTags) > 0 && i.RepoTags[0] == name) {
			return i
		}
	}
	return nil
}

func (f *fakeRuntime) ListImages(_ context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	if name := r.GetFilter().GetImage().GetImage(); name != "" {
		if i := f.find(name); i != nil {
			return &runtimeapi.ListImagesResponse{Images: []*runtimeapi.Image{i}}, nil
		}
		return &runtimeapi.ListImagesResponse{}, nil
	}
	return &runtimeapi.ListImagesResponse{Images: f.images}, nil
}

func (f *fakeRuntime) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	return &runtimeapi.ImageStatusResponse{Image: f.find(r.GetImage().GetImage())}, nil
}

func (f *fakeRuntime) PullImage(_ context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.auth = r.Auth
	if strings.Contains(r.GetImage().GetImage(), "nowhere") {
		return nil, status.Error(codes.NotFound, "no such host")
	}
	return &runtimeapi.PullImageResponse{ImageRef: idleImg}, nil
}

func (f *fakeRuntime) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	var left []*runtimeapi.Image
	for _, i := range f.images {
		if i.Id != r.GetImage().GetImage() {
			left = append(left, i)
		}
	}
	f.images = left
	return &runtimeapi.RemoveImageResponse{}, nil
}

// start serves the fake on a socket and names it in the environment.
func start(t *testing.T) *fakeRuntime {
	t.Helper()
	// The path of a socket is limited to 108 characters: t.TempDir may be longer.
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "cri.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeRuntime()
	server := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(server, f)
	runtimeapi.RegisterImageServiceServer(server, f)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	t.Setenv(endpointVariable, "unix://"+path)
	return f
}

func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := NewCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(context.Background())
	return out.String(), errs.String(), err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, _, err := run(t, args...)
	if err != nil {
		t.Fatalf("crictl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func TestLists(t *testing.T) {
	start(t)
	for _, c := range []struct{ args, want string }{
		{"ps -q", webID + " " + sqlID},
		{"ps -a -q", webID + " " + sqlID + " " + oldID},
		{"ps -aq --state exited", oldID},
		{"ps -q --state Running --name ^post", sqlID},
		{"ps -q --name nothing", ""},
		{"ps -a -q --pod " + webPod, webID + " " + oldID},
		{"pods -q", sqlPod + " " + webPod},
		{"pods -q --name web", webPod},
		{"pods -q --namespace data", sqlPod},
		{"pods -q --state ready", webPod},
		{"images -q", idleImg + " " + sqlImg + " " + baseImg + " " + webImg},
		{"images -q docker.io/library/postgres:15", sqlImg},
	} {
		if got := strings.Join(strings.Fields(mustRun(t, strings.Fields(c.args)...)), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
}

func lines(text string) [][]string {
	var out [][]string
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		out = append(out, strings.Fields(l))
	}
	return out
}

func TestTables(t *testing.T) {
	start(t)
	for _, c := range []struct {
		args string
		want []string
	}{
		{"ps -a", []string{
			"CONTAINER IMAGE CREATED STATE NAME ATTEMPT POD ID POD NAMESPACE",
			"1111111111111 6666666666666 About an hour ago Running web 1 4444444444444 web-0 shop",
			"2222222222222 7777777777777 2 hours ago Running postgres 1 5555555555555 postgres-0 shop",
			"3333333333333 6666666666666 3 hours ago Exited web 1 4444444444444 web-0 shop"}},
		{"pods", []string{
			"POD ID CREATED STATE NAME NAMESPACE ATTEMPT RUNTIME",
			"5555555555555 2 hours ago NotReady postgres-0 data 0 (default)",
			"4444444444444 3 hours ago Ready web-0 shop 0 (default)"}},
		{"images", []string{
			"IMAGE TAG IMAGE ID SIZE",
			"docker.io/library/busybox 1.36 8888888888888 2MB",
			"docker.io/library/postgres 15 7777777777777 353MB",
			"docker.io/rancher/mirrored-pause 3.10 9999999999999 700kB",
			"registry.example:5000/web 1.0 6666666666666 12.3MB"}},
		{"images --digests --no-trunc docker.io/library/postgres:15", []string{
			"IMAGE TAG DIGEST IMAGE ID SIZE",
			"docker.io/library/postgres 15 abcdefabcdefabcd 7777777777777777aaaaaaaaaaaaaaaa 353MB"}},
	} {
		var got []string
		for _, l := range lines(mustRun(t, strings.Fields(c.args)...)) {
			got = append(got, strings.Join(l, " "))
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%s\nwant:\n%s", c.args, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// at walks into JSON: keys of objects, numbers of lists.
func at(t *testing.T, text string, path ...any) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			if _, there := m[p]; !ok || !there {
				t.Fatalf("no %q in:\n%s", p, text)
			}
			v = m[p]
		case int:
			l, ok := v.([]any)
			if !ok || len(l) <= p {
				t.Fatalf("no element %d in:\n%s", p, text)
			}
			v = l[p]
		}
	}
	return v
}

func TestJSON(t *testing.T) {
	start(t)
	type path = []any
	for _, c := range []struct {
		args string
		path path
		want any
	}{
		{"ps -o json", path{"containers", 0, "id"}, webID},
		{"ps -o json", path{"containers", 0, "podSandboxId"}, webPod},
		{"ps -o json", path{"containers", 0, "metadata", "name"}, "web"},
		{"ps -o json", path{"containers", 0, "state"}, "CONTAINER_RUNNING"},
		{"ps -o json", path{"containers", 0, "imageRef"}, webImg},
		{"pods -o json", path{"items", 0, "metadata", "namespace"}, "data"},
		{"pods -o json", path{"items", 0, "state"}, "SANDBOX_NOTREADY"},
		{"pods -o json", path{"items", 0, "runtimeHandler"}, ""},
		{"images -o json", path{"images", 1, "repoTags", 0}, "docker.io/library/postgres:15"},
		{"images -o json", path{"images", 1, "size"}, "353000000"},
		{"images -o json", path{"images", 0, "pinned"}, false},
		{"inspect " + webID, path{"status", "state"}, "CONTAINER_RUNNING"},
		{"inspect 1111", path{"info", "pid"}, 42.0},
		{"inspectp " + webPod, path{"status", "network", "ip"}, "10.42.0.7"},
		{"inspectp " + webPod, path{"info"}, "not JSON"},
		{"inspecti docker.io/library/busybox:1.36", path{"status", "id"}, idleImg},
		{"info", path{"status", "conditions", 0, "type"}, "RuntimeReady"},
		{"info", path{"config", "sandboxImage"}, "docker.io/rancher/mirrored-pause:3.10"},
		{"info", path{"golang"}, "go1.19"},
	} {
		if got := at(t, mustRun(t, strings.Fields(c.args)...), c.path...); got != c.want {
			t.Errorf("%s: %v is %v, want %v", c.args, c.path, got, c.want)
		}
	}
	if got := at(t, mustRun(t, "ps", "-o", "json", "--name", "nothing"), "containers"); len(got.([]any)) != 0 {
		t.Errorf("an empty list is %v", got)
	}
	if got := mustRun(t, "ps", "-o", "yaml"); !strings.HasPrefix(got, "containers:\n- annotations:") {
		t.Errorf("YAML:\n%s", got)
	}
}

func TestPull(t *testing.T) {
	f := start(t)
	if got := mustRun(t, "pull", "docker.io/library/busybox:1.36"); got != "Image is up to date for "+idleImg+"\n" {
		t.Errorf("%q", got)
	}
	if f.auth != nil {
		t.Errorf("credentials out of nothing: %v", f.auth)
	}
	mustRun(t, "pull", "--creds", "user:pass:word", "docker.io/library/busybox:1.36")
	if f.auth.GetUsername() != "user" || f.auth.GetPassword() != "pass:word" {
		t.Errorf("credentials: %v", f.auth)
	}
	if _, _, err := run(t, "pull", "--creds", "user", "x"); err == nil || !strings.Contains(err.Error(), "USERNAME:PASSWORD") {
		t.Errorf("%v", err)
	}
	if _, _, err := run(t, "pull", "nowhere/x"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("%v", err)
	}
}

func TestRemoveImages(t *testing.T) {
	f := start(t)
	f.images = append(f.images, &runtimeapi.Image{Id: "sha256:pinned", Pinned: true, Size: 1})
	// Left are the images of containers, running or not, of the sandbox, and the pinned one.
	if got := mustRun(t, "rmi", "--prune"); got != "Deleted: docker.io/library/busybox:1.36\n" {
		t.Errorf("%q", got)
	}
	out, _, err := run(t, "rmi", "nothing", "docker.io/library/postgres:15")
	if err == nil || !strings.Contains(err.Error(), `no such image "nothing" present`) {
		t.Errorf("%v", err)
	}
	if out != "Deleted: docker.io/library/postgres:15\n" {
		t.Errorf("%q", out)
	}
	if len(f.images) != 3 {
		t.Errorf("left: %v", f.images)
	}
	for _, args := range [][]string{{"rmi"}, {"rmi", "--prune", "x"}} {
		if _, _, err := run(t, args...); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestLogs(t *testing.T) {
	f := start(t)
	f.logPath = filepath.Join(t.TempDir(), "0.log")
	text := "2026-01-02T03:04:05.000000000Z stdout F one\n" +
		"2026-01-02T03:04:06.000000000Z stderr F oops\n" +
		"2026-01-02T03:04:07.000000000Z stdout F two\n"
	if err := os.WriteFile(f.logPath, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, err := run(t, "logs", webID)
	if err != nil || out != "one\ntwo\n" || errs != "oops\n" {
		t.Errorf("%q %q %v", out, errs, err)
	}
	if got := mustRun(t, "logs", "--tail", "1", "--timestamps", webID); got != "2026-01-02T03:04:07.000000000Z two\n" {
		t.Errorf("%q", got)
	}
	os.Remove(f.logPath)
	if _, _, err := run(t, "logs", webID); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%v", err)
	}
	f.logPath = ""
	if _, _, err := run(t, "logs", webID); err == nil || !strings.Contains(err.Error(), "has no log") {
		t.Errorf("%v", err)
	}
}

func TestVersion(t *testing.T) {
	start(t)
	if got := mustRun(t, "version"); got != "Version:  0.1.0\nRuntimeName:  containerd\nRuntimeVersion:  1.6.20\nRuntimeApiVersion:  v1\n" {
		t.Errorf("%q", got)
	}
}

func TestOwnVersion(t *testing.T) {
	// No runtime is needed for it.
	if got := mustRun(t, "--version"); !strings.HasPrefix(got, "crictl version v") {
		t.Errorf("%q", got)
	}
}

func TestEndpoint(t *testing.T) {
	start(t)
	path := strings.TrimPrefix(os.Getenv(endpointVariable), "unix://")
	t.Setenv(endpointVariable, "unix:///nowhere.sock")
	if _, _, err := run(t, "ps"); err == nil || !strings.Contains(err.Error(), "no container runtime at unix:///nowhere.sock") {
		t.Errorf("%v", err)
	}
	mustRun(t, "-r", path, "ps")
	mustRun(t, "ps", "--runtime-endpoint", "unix://"+path)
	dead := filepath.Join(t.TempDir(), "dead.sock")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, "--timeout", "1s", "-r", dead, "images"); err == nil || !strings.Contains(err.Error(), "no answer from the image service") {
		t.Errorf("%v", err)
	}
	t.Setenv(endpointVariable, "")
	if got := NewCommand().PersistentFlags().Lookup("runtime-endpoint").DefValue; got != defaultEndpoint {
		t.Errorf("default %q", got)
	}
}

func TestErrors(t *testing.T) {
	start(t)
	for _, c := range []struct{ args, want string }{
		{"exec -it abc sh", `"exec" is not part of this subset of crictl; it has: help, images, info, inspect, inspecti, inspectp, logs, pods, ps, pull, rmi, version; it does not have: attach`},
		{"frobnicate", `"frobnicate" is no command of crictl; it has: help, images`},
		{"ps -o xml", `output format "xml" is none of table, json, yaml`},
		{"inspect -o table x", `output format "table" is none of json, yaml`},
		{"ps --state dead", "none of created, running, exited, unknown"},
		{"pods --state dead", "none of ready, notready"},
		{"ps --name (", "--name: error parsing regexp"},
		{"inspect nothing", "container nothing: "},
		{"inspectp nothing", "pod nothing: "},
		{"inspecti nothing", `no such image "nothing" present`},
		{"logs nothing", "container nothing: "},
		{"ps extra", "unknown command"},
	} {
		out, _, err := run(t, strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
			t.Errorf("%s: %q, %v", c.args, out, err)
		}
	}
	if out := mustRun(t); !strings.Contains(out, "This is a subset of crictl") {
		t.Errorf("help:\n%s", out)
	}
}
