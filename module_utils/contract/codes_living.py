"""Codes of findings about a living system: what runs, where `codes.py` is about what files say (seed 001, Steps 1 to 6)."""

from __future__ import annotations

from .codes import CRITICAL, HIGH, LOW, MEDIUM, _
from .model import Kind

__all__: list[str] = []

# --- node -------------------------------------------------------------------------------------------

_("NODE-01", "node", CRITICAL, ("A folder of the node is missing", "노드 디렉토리 없음"),
  ("{path} is {actual} on {subject}; the contract has a folder there.", "{subject}의 {path}이(가) {actual}이며, 계약은 디렉토리이다."),
  ("Run `{command}`, which makes it with its owner and mode.", "`{command}`을(를) 실행하면 소유자와 권한까지 생성된다."))
_("NODE-02", "node", CRITICAL, ("A folder of the node belongs to somebody else", "노드 디렉토리 소유자 불일치"),
  ("{path} on {subject} belongs to {actual}; the contract says {expected}.", "{subject}의 {path} 소유자는 {actual}이며, 계약은 {expected}이다."),
  ("On the node: `{command}`.", "노드에서 `{command}`을(를) 실행한다."))
_("NODE-03", "node", MEDIUM, ("A folder of the node has another mode", "노드 디렉토리 권한 불일치"),
  ("{path} on {subject} has the mode {actual}; the contract says {expected}.", "{subject}의 {path} 권한은 {actual}이며, 계약은 {expected}이다."),
  ("On the node: `{command}`.", "노드에서 `{command}`을(를) 실행한다."))
_("NODE-04", "node", HIGH, ("There is too little room for the volumes", "볼륨 공간 부족"),
  ("For {path} on {subject} {actual} are free or used by volumes; {expected} are asked for.",
   "{subject}의 {path}에 사용 가능한 공간(볼륨 사용분 포함)은 {actual}이며, 요구량은 {expected}이다."),
  ("Make room, or mount a larger disk there: `{command}` shows what takes it.", "공간을 확보하거나 더 큰 디스크를 마운트한다. `{command}`(으)로 사용량을 확인한다."))
_("NODE-05", "node", CRITICAL, ("A file system is full", "파일 시스템 포화"),
  ("Of {path} on {subject} only {actual} are free; K3s evicts pods below {expected}.",
   "{subject}의 {path} 여유가 {actual}뿐이다. K3s는 {expected} 미만에서 Pod를 축출한다."),
  ("Make room: `{command}` shows what takes it.", "공간을 확보한다. `{command}`(으)로 사용량을 확인한다."))
_("NODE-06", "node", CRITICAL, ("The folder of the volumes cannot be written", "볼륨 디렉토리 쓰기 불가"),
  ("{path} on {subject} cannot be written: {actual}.", "{subject}의 {path}에 쓸 수 없다: {actual}."),
  ("On the node: `{command}`, and look in the kernel's log (`dmesg`).", "노드에서 `{command}`을(를) 실행하고 커널 로그(`dmesg`)를 확인한다."))
_("NODE-07", "node", CRITICAL, ("A file system is read-only", "읽기 전용 파일 시스템"),
  ("{path} on {subject} is mounted read-only, and the node writes there.", "{subject}의 {path}이(가) 읽기 전용으로 마운트되어 있다."),
  ("Look in the kernel's log why (`dmesg`), then on the node: `{command}`.", "커널 로그(`dmesg`)로 원인을 확인한 뒤 노드에서 `{command}`을(를) 실행한다."))
_("NODE-08", "node", CRITICAL, ("K3s is not installed", "K3s 미설치"),
  ("{subject} has no K3s.", "{subject}에 K3s가 없다."),
  ("Run `{command}`.", "`{command}`을(를) 실행한다."))
_("NODE-09", "node", CRITICAL, ("K3s does not run", "K3s 중지"),
  ("K3s on {subject} is {actual}. {last}", "{subject}의 K3s 상태는 {actual}이다. {last}"),
  ("On the node: `{command}`; `journalctl -u {unit} -n 100` says why it ended.", "노드에서 `{command}`을(를) 실행한다. 종료 원인은 `journalctl -u {unit} -n 100`(으)로 확인한다."))
_("NODE-10", "node", HIGH, ("K3s restarts again and again", "K3s 반복 재시작"),
  ("K3s on {subject} was restarted {actual} times. {last}", "{subject}의 K3s가 {actual}회 재시작되었다. {last}"),
  ("On the node: `{command}` says why.", "노드에서 `{command}`(으)로 원인을 확인한다."))
_("NODE-11", "node", HIGH, ("K3s has another version", "K3s 버전 불일치"),
  ("K3s on {subject} is {actual}; the contract says {expected}.", "{subject}의 K3s 버전은 {actual}이며, 계약은 {expected}이다."),
  ("Run `{command}`, or change the contract with k3s_version.", "`{command}`을(를) 실행하거나 k3s_version과 함께 계약을 변경한다."))
_("NODE-12", "node", MEDIUM, ("K3s does not start with the node", "K3s 자동 시작 안 됨"),
  ("The unit {unit} on {subject} is {actual}, so K3s is gone after a reboot.", "{subject}의 유닛 {unit}이(가) {actual} 상태라 재부팅 후 K3s가 시작되지 않는다."),
  ("On the node: `{command}`.", "노드에서 `{command}`을(를) 실행한다."))
_("NODE-13", "node", CRITICAL, ("The API does not answer", "API 서버 무응답"),
  ("The API does not answer on {subject}: {actual}. {last}", "{subject}에서 API 서버가 응답하지 않는다: {actual}. {last}"),
  ("On the node: `{command}` says why.", "노드에서 `{command}`(으)로 원인을 확인한다."))
_("NODE-14", "node", CRITICAL, ("A certificate is not valid", "인증서 만료 또는 무효"),
  ("On {subject} {files} {actual}; it is {now} there.", "{subject}의 {files}: {actual} (노드 시각 {now})."),
  ("See that the node's clock is right, then on the node: `{command}`, which renews them.", "노드 시각을 확인한 뒤 `{command}`을(를) 실행하면 갱신된다."))
_("NODE-15", "node", MEDIUM, ("A certificate expires soon", "인증서 만료 임박"),
  ("On {subject} {files} expire on {actual}.", "{subject}의 {files} 인증서가 {actual}에 만료된다."),
  ("On the node: `{command}`, which renews them.", "노드에서 `{command}`을(를) 실행하면 갱신된다."), kind=Kind.DRIFT)
_("NODE-16", "node", MEDIUM, ("The node has another time zone", "노드 시간대 불일치"),
  ("The time zone of {subject} is {actual}; the contract says {expected}.", "{subject}의 시간대는 {actual}이며, 계약은 {expected}이다."),
  ("On the node: `{command}`.", "노드에서 `{command}`을(를) 실행한다."))
_("NODE-17", "node", HIGH, ("The node's clock is wrong", "노드 시각 오차"),
  ("The clock of {subject} is {actual} against the controller's; {expected} are allowed.", "{subject}의 시각이 컨트롤러 대비 {actual} 차이 나며, 허용 범위는 {expected}이다."),
  ("On the node: `{command}` says who keeps the clock.", "노드에서 `{command}`(으)로 시각 동기화를 확인한다."))
_("NODE-18", "node", LOW, ("Nobody keeps the node's clock", "시각 동기화 안 됨"),
  ("The clock of {subject} is not synchronized.", "{subject}의 시각이 동기화되지 않았다."),
  ("On the node: `{command}`.", "노드에서 `{command}`을(를) 실행한다."), kind=Kind.DRIFT)
_("NODE-19", "node", CRITICAL, ("The firewall keeps pods or other nodes from the node", "방화벽이 Pod 또는 다른 노드의 접근 차단"),
  ("On {subject} the packet filter stops {journey} by `{actual}`.", "{subject}의 방화벽이 `{actual}` 규칙으로 {journey_ko} 트래픽을 차단한다."),
  ("Run `{command}`, which puts the node's own rules before that.", "`{command}`을(를) 실행하면 노드 규칙이 앞에 복원된다."))
_("NODE-20", "node", CRITICAL, ("The firewall eats traffic of pods and Services", "방화벽이 Pod/Service 트래픽 차단"),
  ("On {subject} the packet filter stops {journey} by `{actual}`.", "{subject}의 방화벽이 `{actual}` 규칙으로 {journey_ko} 트래픽을 차단한다."),
  ("Run `{command}`, which puts the node's own rules before that.", "`{command}`을(를) 실행하면 노드 규칙이 앞에 복원된다."))
_("NODE-21", "node", CRITICAL, ("The node does not forward packets", "IP 포워딩 꺼짐"),
  ("net.ipv4.ip_forward is 0 on {subject}, so no pod reaches anything.", "{subject}의 net.ipv4.ip_forward 값이 0이라 Pod 통신이 불가능하다."),
  ("On the node: `{command}`.", "노드에서 `{command}`을(를) 실행한다."))
_("NODE-30", "node", CRITICAL, ("A container runs with another id", "컨테이너 실행 ID 불일치"),
  ("The process of {subject} has {name} {actual}; the contract says {expected}.", "{subject} 프로세스의 {name} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Run `{command}`, which puts the manifests' security context back.", "`{command}`을(를) 실행하면 보안 컨텍스트가 복원된다."))
_("NODE-31", "node", HIGH, ("A container has rights that it must not have", "컨테이너 권한 과다"),
  ("The process of {subject} has {name} {actual}; the contract says {expected}.", "{subject} 프로세스의 {name} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Run `{command}`, which puts the manifests' security context back.", "`{command}`을(를) 실행하면 보안 컨텍스트가 복원된다."))
_("NODE-32", "node", CRITICAL, ("A path of the contract cannot be written", "계약 경로 쓰기 실패"),
  ("From inside {subject}, {path} cannot be written: {actual}.", "{subject} 내부에서 {path}에 쓸 수 없다: {actual}."),
  ("{hint}: `{command}`.", "{hint_ko}: `{command}`."))
_("NODE-33", "node", HIGH, ("A container can write where it must not", "금지된 위치에 쓰기 가능"),
  ("From inside {subject}, {path} can be written.", "{subject} 내부에서 {path}에 쓸 수 있다."),
  ("Run `{command}`, which makes the root file system read-only again.", "`{command}`을(를) 실행하면 루트 파일 시스템이 읽기 전용으로 복원된다."))
_("NODE-34", "node", CRITICAL, ("A volume is not mounted", "볼륨 마운트 없음"),
  ("{subject} has nothing mounted at {path}; the contract has {expected} there.", "{subject}의 {path}에 마운트가 없으며, 계약은 {expected}이다."),
  ("Run `{command}`, which puts the mount back.", "`{command}`을(를) 실행하면 마운트가 복원된다."))
_("NODE-35", "node", CRITICAL, ("Another volume is mounted", "다른 볼륨이 마운트됨"),
  ("At {path} {subject} has {actual} mounted; the contract has {expected} there.", "{subject}의 {path}에 {actual}이(가) 마운트되어 있으며, 계약은 {expected}이다."),
  ("Run `{command}`: pods that are made anew take the right one.", "`{command}`을(를) 실행한다. 다시 생성된 Pod는 올바른 볼륨을 사용한다."))
_("NODE-36", "node", CRITICAL, ("A volume is mounted for reading or for writing against the contract", "볼륨 읽기/쓰기 모드 불일치"),
  ("The mount at {path} of {subject} is {actual}; the contract says {expected}.", "{subject}의 {path} 마운트는 {actual}이며, 계약은 {expected}이다."),
  ("Run `{command}`, which puts the mount back.", "`{command}`을(를) 실행하면 마운트가 복원된다."))
_("NODE-37", "node", CRITICAL, ("A running process lacks a variable", "실행 중 프로세스에 환경 변수 없음"),
  ("The process of {subject} does not have {variable}, which {expected} has to give.", "{subject} 프로세스에 {variable}이(가) 없다. 출처는 {expected}이다."),
  ("Add it to {expected}, then run `{command}`.", "{expected}에 추가한 뒤 `{command}`을(를) 실행한다."))
_("NODE-38", "node", HIGH, ("A running process has another value of a variable", "실행 중 프로세스의 환경 변수 값 불일치"),
  ("The process of {subject} has {variable}={actual}; the contract says {expected}.", "{subject} 프로세스의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Set {variable} to {expected} where it comes from ({source}), then run `{command}`.", "출처({source})에서 {variable} 값을 {expected}(으)로 수정한 뒤 `{command}`을(를) 실행한다."))
_("NODE-39", "node", CRITICAL, ("A name cannot be resolved from inside", "컨테이너 내부 이름 해석 실패"),
  ("From inside {subject}, the name {name} cannot be resolved: {actual}.", "{subject} 내부에서 이름 {name} 해석 실패: {actual}."),
  ("{hint}: `{command}`.", "{hint_ko}: `{command}`."))
_("NODE-40", "node", CRITICAL, ("The database cannot be reached from inside", "컨테이너 내부 DB 연결 실패"),
  ("From inside {subject}, {address} cannot be reached: {actual}.", "{subject} 내부에서 {address}에 연결할 수 없다: {actual}."),
  ("{hint}: `{command}`.", "{hint_ko}: `{command}`."))
_("NODE-41", "node", CRITICAL, ("A health page does not answer from inside", "컨테이너 내부 헬스 체크 실패"),
  ("From inside {subject}, {path} gives {actual}; it has to be {expected}.", "{subject} 내부에서 {path} 응답이 {actual}이며, {expected}이어야 한다."),
  ("The app's log says why: `{command}`.", "앱 로그에서 원인을 확인한다: `{command}`."))
_("NODE-42", "node", CRITICAL, ("PostgreSQL does not answer", "PostgreSQL 무응답"),
  ("PostgreSQL of {subject} does not answer through its socket: {actual}.", "{subject}의 PostgreSQL이 소켓으로 응답하지 않는다: {actual}."),
  ("Its log says why: `{command}`.", "로그에서 원인을 확인한다: `{command}`."))
_("NODE-43", "node", CRITICAL, ("PostgreSQL only reads", "PostgreSQL 복구 모드"),
  ("PostgreSQL of {subject} is in recovery and takes no writes.", "{subject}의 PostgreSQL이 복구 모드라 쓰기가 불가능하다."),
  ("Its log says how far it is: `{command}`.", "로그에서 진행 상황을 확인한다: `{command}`."))
_("NODE-50", "node", MEDIUM, ("Something of the node could not be looked at", "노드 항목 확인 불가"),
  ("On {subject}, {about} could not be looked at: {actual}.", "{subject}의 {about}을(를) 확인할 수 없다: {actual}."),
  ("Mend what keeps it from being read, or look by hand.", "읽지 못하는 원인을 해소하거나 직접 확인한다."), kind=Kind.UNCHECKED)

_("NODE-59", "node", HIGH, ("A node was not looked at", "확인하지 못한 노드"),
  ("Nothing is known of {subject}: it could not be reached, or the look at it ended in an error.", "{subject}의 상태를 알 수 없다: 접속할 수 없거나 확인 중 오류가 발생했다."),
  ("Run `{command}`, mend what it says, then verify again.", "`{command}`을(를) 실행하여 원인을 해소한 뒤 다시 검증한다."), kind=Kind.UNCHECKED)

# --- live -------------------------------------------------------------------------------------------

_("LIVE-01", "cluster", CRITICAL, ("The API server does not answer", "API 서버 무응답"),
  ("The API server does not answer: {why}.", "API 서버가 응답하지 않는다: {why}."),
  ("See `sudo systemctl status k3s` and `sudo journalctl -u k3s -n 50` on the server's host.",
   "서버 호스트에서 `sudo systemctl status k3s`와 `sudo journalctl -u k3s -n 50`을 확인한다."))
_("LIVE-02", "cluster", CRITICAL, ("A node is not Ready", "노드 Ready 아님"),
  ("{subject} is {actual}: {why}.", "{subject} 상태: {actual} ({why})."),
  ("See `{command}`, and the log of K3s on that host.", "`{command}`와 해당 호스트의 K3s 로그를 확인한다."))
_("LIVE-03", "cluster", HIGH, ("A node is short of something, or takes no pods", "노드 자원 부족 또는 스케줄링 불가"),
  ("{subject} says {what}: new pods do not start there, and others are evicted.", "{subject} 상태 {what}: 새 Pod가 시작되지 않거나 축출된다."),
  ("Look with `{command}`, and make room or let it take pods again.", "`{command}`로 확인하고 여유를 확보하거나 스케줄링을 다시 허용한다."))
_("LIVE-04", "cluster", HIGH, ("A node runs another version of K3s", "K3s 버전 불일치"),
  ("{subject} runs K3s {actual}; the contract says {expected}.", "{subject}의 K3s 버전은 {actual}이며, 계약은 {expected}이다."),
  ("Run `ansible-playbook site.yml -i inventories/<env>`, or change the contract together with k3s_version.",
   "`ansible-playbook site.yml -i inventories/<env>`를 실행하거나 계약과 k3s_version을 함께 수정한다."))
_("LIVE-05", "cluster", CRITICAL, ("The StorageClass is missing or another one", "StorageClass 불일치"),
  ("{subject}: {what} is {actual}; expected is {expected}.", "{subject}: {what} 값은 {actual}이며, {expected}이어야 한다."),
  ("Run `ansible-playbook site.yml -i inventories/<env>`: role local_path makes the class.",
   "`ansible-playbook site.yml -i inventories/<env>`를 실행한다 (local_path 역할이 생성한다)."))
_("LIVE-06", "cluster", CRITICAL, ("A service of the cluster does not run", "클러스터 구성 Pod 비정상"),
  ("The {subject} are {actual}: {why}.", "{subject} 상태: {actual} ({why})."),
  ("See `{command}`; `ansible-playbook site.yml -i inventories/<env>` puts them back.",
   "`{command}`로 확인하고, `ansible-playbook site.yml -i inventories/<env>`로 복구한다."))
_("LIVE-07", "cluster", CRITICAL, ("The namespace is missing", "네임스페이스 없음"),
  ("{subject} is {actual}.", "{subject} 상태: {actual}."),
  ("Run `ansible-playbook site.yml -i inventories/<env>`.", "`ansible-playbook site.yml -i inventories/<env>`를 실행한다."))
_("LIVE-11", "cluster", CRITICAL, ("A workload is not available", "워크로드 가용 Pod 부족"),
  ("{subject} has {actual} of {expected} pods available: {why}.", "{subject}의 가용 Pod는 {expected}개 중 {actual}개이다: {why}."),
  ("See `{command}`.", "`{command}`를 확인한다."))
_("LIVE-12", "cluster", MEDIUM, ("A change has not reached the pods", "변경이 Pod에 반영되지 않음"),
  ("{subject} is at {actual}; wanted is {expected}.", "{subject}은(는) {actual}이며, {expected}이어야 한다."),
  ("Wait for it with `{command}`.", "`{command}`로 완료를 기다린다."))
_("LIVE-13", "cluster", CRITICAL, ("A pod has no node", "Pod 스케줄링 불가 (Pending)"),
  ("{subject} is Pending; the scheduler says: {why}.", "{subject} Pending; 스케줄러: {why}."),
  ("Mend what the scheduler names; `{command}` has all of it.", "스케줄러가 말하는 원인을 수정한다. 전체 내용은 `{command}`."))
_("LIVE-14", "cluster", CRITICAL, ("The registry refuses the pull", "이미지 pull 거부 (인증)"),
  ("{subject} cannot pull {image}: the registry refuses with {secret}, which is {state}: {why}.",
   "{subject}이(가) {image}을(를) 받을 수 없다: 레지스트리가 {secret} ({state})을(를) 거부한다: {why}."),
  ("Give the vault a name and password that may read the image (vault_ghcr_username, vault_ghcr_token), run "
   "`ansible-playbook playbooks/secrets.yml -i inventories/<env>` and then site.yml.",
   "vault의 vault_ghcr_username, vault_ghcr_token을 수정하고 `ansible-playbook playbooks/secrets.yml -i inventories/<env>` 후 site.yml을 실행한다."))
_("LIVE-15", "cluster", CRITICAL, ("The registry does not have the image", "이미지 또는 태그 없음"),
  ("{subject} cannot pull {image}: the registry does not have it: {why}.", "{subject}이(가) {image}을(를) 받을 수 없다: 레지스트리에 없다: {why}."),
  ("{mend_en}", "{mend_ko}"))
_("LIVE-16", "cluster", CRITICAL, ("An image cannot be pulled", "이미지 pull 실패"),
  ("{subject} cannot pull {image}: {why}.", "{subject}이(가) {image}을(를) 받을 수 없다: {why}."),
  ("Try from that node whether the registry can be reached, and see `{command}`.", "해당 노드에서 레지스트리 접속을 확인하고 `{command}`를 본다."))
_("LIVE-17", "cluster", CRITICAL, ("A container ends again and again", "컨테이너 반복 종료 (CrashLoopBackOff)"),
  ("{subject}: container {container} has ended {times} times, last with {exit}; its log says: {line}.",
   "{subject}: {container} 컨테이너가 {times}회 종료, 마지막 {exit}; 로그: {line}."),
  ("Mend what the log names; all of it: `{command}`.", "로그가 말하는 원인을 수정한다. 전체 로그: `{command}`."))
_("LIVE-18", "cluster", CRITICAL, ("A container cannot be made", "컨테이너 생성 불가"),
  ("{subject} cannot start: {why}.", "{subject} 시작 불가: {why}."),
  ("Mend what is named; `{command}` has all of it.", "원인을 수정한다. 전체 내용은 `{command}`."))
_("LIVE-19", "cluster", HIGH, ("A pod is not ready", "Pod Ready 아님"),
  ("{subject} is {actual}: {why}.", "{subject} 상태: {actual} ({why})."),
  ("See `{command}` and its log.", "`{command}`와 로그를 확인한다."))
_("LIVE-20", "cluster", LOW, ("A container was started again", "컨테이너 재시작"),
  ("{subject}: container {container} was started again within the last hour, {actual} times in all, after {exit}.",
   "{subject}: {container} 컨테이너가 최근 1시간 내 재시작됨 (총 {actual}회, {exit})."),
  ("See `{command}`.", "`{command}`를 확인한다."), kind=Kind.DRIFT)
_("LIVE-21", "cluster", CRITICAL, ("A claim has no volume", "PVC Bound 아님"),
  ("{subject} is {actual}: {why}.", "{subject} 상태: {actual} ({why})."),
  ("See `{command}` and `kubectl -n kube-system logs deployment/local-path-provisioner`.",
   "`{command}`와 `kubectl -n kube-system logs deployment/local-path-provisioner`를 확인한다."))
_("LIVE-22", "cluster", CRITICAL, ("A volume's folder is gone", "볼륨 디렉토리 없음"),
  ("{subject} is bound, and {path} is not there on {node}: its data is lost, or the disk is not mounted.",
   "{subject}은(는) Bound이지만 {node}에 {path}이(가) 없다: 데이터가 없거나 디스크가 마운트되지 않았다."),
  ("Mount the disk, or restore the folder from a backup; do not start pods on it before.",
   "디스크를 마운트하거나 백업에서 복원한다. 그 전에는 Pod를 시작하지 않는다."))
_("LIVE-23", "cluster", MEDIUM, ("A volume holds more than its claim", "PVC 용량 초과"),
  ("{subject} asks for {expected} and holds {actual}: local-path does not limit what is written.",
   "{subject}의 요청 용량은 {expected}이지만 {actual}을(를) 사용한다: local-path는 용량을 제한하지 않는다."),
  ("Remove what is not needed in {path}, or raise the claim and see that the disk has room.",
   "{path}에서 불필요한 데이터를 정리하거나, 디스크 여유를 확인하고 용량을 늘린다."))
_("LIVE-24", "cluster", LOW, ("A volume without a claim", "Released 볼륨"),
  ("{subject} is {actual}, was of {claim} and is {size}, in {path} on {node}.", "{subject} 상태 {actual}: 이전 PVC {claim}, {size}, {node}의 {path}."),
  ("Look whether its data is needed; then `kubectl delete pv` and remove the folder.",
   "데이터 필요 여부를 확인한 뒤 `kubectl delete pv` 후 디렉토리를 삭제한다."), kind=Kind.DRIFT)
_("LIVE-25", "cluster", LOW, ("A folder without a volume", "볼륨 없는 디렉토리"),
  ("{subject} on {host} belongs to no volume and is {size}; it was of {claim}.", "{host}의 {subject}은(는) 볼륨이 없다: {size}, 이전 PVC {claim}."),
  ("Look whether its data is needed, then remove it.", "데이터 필요 여부를 확인한 뒤 삭제한다."), kind=Kind.DRIFT)
_("LIVE-26", "cluster", CRITICAL, ("A Secret is missing (CF-1)", "Secret 없음 (CF-1)"),
  ("{subject} is missing: {why}.", "{subject} 없음: {why}."),
  ("Run `ansible-playbook site.yml -i inventories/<env>`; when it was never sealed, playbooks/secrets.yml before it.",
   "`ansible-playbook site.yml -i inventories/<env>`를 실행한다. 봉인한 적이 없으면 먼저 playbooks/secrets.yml을 실행한다."))
_("LIVE-27", "cluster", HIGH, ("A Secret lacks a key (CF-2)", "Secret 키 누락 (CF-2)"),
  ("{subject}: key {key} is {actual}.", "{subject}: {key} 키가 {actual} 상태이다."),
  ("{mend_en}", "{mend_ko}"))
_("LIVE-28", "cluster", HIGH, ("A Secret was not made by its SealedSecret", "SealedSecret이 만들지 않은 Secret"),
  ("{subject} belongs to {actual}; it should come from {expected}, else nobody can make it again.",
   "{subject}의 소유자는 {actual}이며, {expected}이어야 재생성할 수 있다."),
  ("Seal its values, delete the Secret, and run site.yml.", "값을 봉인하고 Secret을 삭제한 뒤 site.yml을 실행한다."))
_("LIVE-29", "cluster", HIGH, ("A Secret has another type", "Secret 타입 불일치"),
  ("{subject} has type {actual}; the contract says {expected}.", "{subject}의 타입은 {actual}이며, 계약은 {expected}이다."),
  ("Delete the Secret, and run site.yml: its SealedSecret makes it anew.", "Secret을 삭제하고 site.yml을 실행하여 다시 생성한다."))
_("LIVE-30", "cluster", CRITICAL, ("A SealedSecret is not opened", "SealedSecret 동기화 안 됨"),
  ("{subject} is {actual}: {why}.", "{subject} 상태: {actual} ({why})."),
  ("If the controller has not looked at it, run site.yml, which shows it again. Otherwise seal the values anew for this "
   "cluster's key: `ansible-playbook playbooks/secrets.yml -i inventories/<env>`, then site.yml.",
   "컨트롤러가 아직 처리하지 않았다면 site.yml이 다시 처리하게 한다. 그 외에는 이 클러스터의 키로 다시 봉인한다: "
   "`ansible-playbook playbooks/secrets.yml -i inventories/<env>` 후 site.yml."))
_("LIVE-31", "cluster", HIGH, ("A container runs with older values of a Secret", "이전 Secret 값으로 실행 중"),
  ("{subject}: container {container} was started with other values of {variables} than the Secret has now ({actual}).",
   "{subject}: {container} 컨테이너의 {variables} 값이 현재 Secret과 다르다 ({actual})."),
  ("Start it anew: `{command}`.", "재시작한다: `{command}`."))
_("LIVE-32", "cluster", MEDIUM, ("A container runs with older settings", "이전 ConfigMap 값으로 실행 중"),
  ("{subject}: container {container} was started with other values of {variables} than the ConfigMap has now.",
   "{subject}: {container} 컨테이너의 {variables} 값이 현재 ConfigMap과 다르다."),
  ("Start it anew: `{command}`.", "재시작한다: `{command}`."))
_("LIVE-34", "cluster", CRITICAL, ("A Service leads to nobody, or to others", "Service 엔드포인트 이상"),
  ("{subject} should lead to {expected}: {why}.", "{subject}의 대상은 {expected}이어야 한다: {why}."),
  ("{mend_en} See `{command}`.", "{mend_ko} `{command}`"))
_("LIVE-35", "cluster", HIGH, ("A page of the app does not answer as it should", "Health Check 실패"),
  ("{subject} through its {through} gives {actual}: {why}.", "{through}를 통한 {subject} 응답: {actual} ({why})."),
  ("Ask from inside: `{command}`.", "내부에서 확인한다: `{command}`."))
_("LIVE-36", "cluster", HIGH, ("The app is not ready", "Readiness 실패"),
  ("{subject} through its {through} gives {actual}: {why}.", "{through}를 통한 {subject} 응답: {actual} ({why})."),
  ("Mend the dependency that it names.", "응답이 말하는 의존성을 수정한다."))
_("LIVE-37", "cluster", HIGH, ("One tag, several images", "같은 태그의 다른 이미지"),
  ("Pods of {subject} run different images: {actual} ({pods}).", "{subject}의 Pod들이 서로 다른 이미지를 실행한다: {actual} ({pods})."),
  ("The tag was pushed again: push the image under a tag of its own, and deploy that.",
   "태그가 다시 push되었다. 고유 태그로 push하고 그 태그를 배포한다."))
_("LIVE-38", "cluster", HIGH, ("A pod runs another image than its workload", "배포 태그와 다른 이미지 실행 중"),
  ("{subject}: container {container} runs {actual}; deployed is {expected}.", "{subject}: {container} 컨테이너는 {actual}을(를) 실행하며, 배포된 것은 {expected}이다."),
  ("See `{command}`; delete the pod when it stays.", "`{command}`를 확인하고, 그대로면 Pod를 삭제한다."))
_("LIVE-39", "cluster", MEDIUM, ("The cluster runs another image than git says", "Git과 다른 이미지 배포됨"),
  ("{subject}: container {container} has {actual}; git says {expected}.", "{subject}: {container} 컨테이너는 {actual}이며, Git은 {expected}이다."),
  ("Run `ansible-playbook site.yml -i inventories/<env>` to get what git says, or write the tag that runs into git.",
   "`ansible-playbook site.yml -i inventories/<env>`로 Git의 값으로 되돌리거나, 실행 중인 태그를 Git에 반영한다."), kind=Kind.DRIFT)
_("LIVE-40", "cluster", LOW, ("A warning that nothing explains", "설명되지 않는 경고 이벤트"),
  ("{subject}: {actual}, {times} times in the last hour: {why}.", "{subject}: 최근 1시간 {actual} {times}회: {why}."),
  ("See `{command}`.", "`{command}`를 확인한다."), kind=Kind.DRIFT)
_("LIVE-41", "cluster", HIGH, ("A workload is on several nodes (CF-7)", "여러 노드에 분산된 워크로드 (CF-7)"),
  ("Pods of {subject} run on {actual}, and their volumes are folders of one node.", "{subject}의 Pod가 {actual}에서 실행 중이며, 볼륨은 한 노드의 디렉토리이다."),
  ("Keep it on the node that has its volumes, with one replica.", "볼륨이 있는 노드에 1개 replica로 고정한다."))
_("LIVE-42", "cluster", CRITICAL, ("A pod is not where its volume is", "볼륨과 다른 노드의 Pod"),
  ("{subject} runs on {actual}, and the volume of {claim} is on {expected}.", "{subject}은(는) {actual}에서 실행 중이며 {claim} 볼륨은 {expected}에 있다."),
  ("Set nodeSelector kubernetes.io/hostname to {expected}, and run site.yml.", "nodeSelector kubernetes.io/hostname을 {expected}(으)로 설정하고 site.yml을 실행한다."))
_("LIVE-60", "cluster", MEDIUM, ("Something of the cluster could not be read", "클러스터 정보 확인 불가"),
  ("{subject} could not be read: {why}.", "{subject} 확인 불가: {why}."),
  ("Mend that first, then look again.", "먼저 해결한 뒤 다시 확인한다."), kind=Kind.UNCHECKED)
for _number, _title in enumerate((
        ("What runs breaks the contract of paths", "실행 중인 경로 계약 위반"),
        ("What runs breaks the contract of variables", "실행 중인 환경 변수 계약 위반"),
        ("What runs breaks the contract of ports", "실행 중인 포트 계약 위반"),
        ("What runs breaks the contract of volumes", "실행 중인 볼륨 계약 위반"),
        ("What runs breaks the contract of permissions", "실행 중인 권한 계약 위반"),
        ("What runs breaks the contract of Secrets", "실행 중인 Secret 계약 위반"),
        ("What runs breaks the contract of images", "실행 중인 이미지 계약 위반"),
        ("What runs breaks the contract of workloads", "실행 중인 워크로드 계약 위반"),
        ("What runs refers to what is not there", "실행 중인 오브젝트의 잘못된 참조")), 51):
    # The sentences are those of the rule that is broken ({rule}), and whether git has it right.
    _(f"LIVE-{_number}", "cluster", HIGH, _title, ("{said_en}", "{said_ko}"), ("{mend_en}", "{mend_ko}"))

# --- faults -----------------------------------------------------------------------------------------

# What a diagnosis ends with (seed 000 6): root causes, each with the one layer that has to be mended.

_("FAULT-01", "faults", CRITICAL, ("The machine does not answer", "노드 응답 없음"),
  ("{subject} does not answer over SSH: {why}.", "{subject}에 SSH로 접속할 수 없다: {why}."),
  ("Look at the machine in the provider's console, at its address and at port 22.",
   "클라우드 콘솔에서 인스턴스 상태, 주소, 22번 포트를 확인한다."))
_("FAULT-02", "faults", CRITICAL, ("K3s does not run", "K3s 중지"),
  ("{subject} is {actual}, so nothing in the cluster is looked after.", "{subject} 상태가 {actual}이며, 클러스터가 관리되지 않는다."),
  ("Start it: `sudo systemctl start {unit}`; its log says why it ended.",
   "`sudo systemctl start {unit}`로 시작하고, 중지 원인은 로그에서 확인한다."))
_("FAULT-03", "faults", CRITICAL, ("A certificate is not valid", "인증서 유효 기간 벗어남"),
  ("{subject} is valid {actual}, and the node's time is {now}: who talks to the API refuses it.",
   "{subject}의 유효 기간은 {actual}, 노드 시각은 {now}이다. API 통신이 거부된다."),
  ("Check the clock with `timedatectl`; then `sudo systemctl restart {unit}` renews what is over.",
   "`timedatectl`로 시각을 확인한 뒤 `sudo systemctl restart {unit}`로 갱신한다."))
_("FAULT-04", "faults", CRITICAL, ("The API does not answer", "API 서버 응답 없음"),
  ("The API on {subject} does not answer: {why}.", "{subject}의 API가 응답하지 않는다: {why}."),
  ("Read K3s' log.", "K3s 로그를 확인한다."))
_("FAULT-05", "faults", CRITICAL, ("A disk is full", "디스크 부족"),
  ("{subject} has {actual} left.", "{subject}의 여유 공간이 {actual}이다."),
  ("Delete or move what is large there and is not Observer's data, or enlarge the volume.",
   "Observer 데이터가 아닌 큰 파일을 정리하거나 볼륨을 확장한다."))
_("FAULT-06", "faults", CRITICAL, ("The firewall eats the pods' traffic", "방화벽이 Pod 트래픽 차단"),
  ("{subject} stops what pods send: {rule}.", "{subject}이(가) Pod 트래픽을 차단한다: {rule}."),
  ("Take it away ({undo}), or run `ansible-playbook site.yml -i {inventory} --tags node` when the role's rules are gone.",
   "제거한다 ({undo}). 역할의 규칙이 사라졌으면 `ansible-playbook site.yml -i {inventory} --tags node`를 실행한다."))
_("FAULT-07", "faults", HIGH, ("A folder on the node has another owner or mode", "노드 디렉토리 권한 오류"),
  ("{subject} is {actual}; the contract says {expected}.", "{subject}의 상태는 {actual}이며, 계약은 {expected}이다."),
  ("{mend}.", "{mend}."))
_("FAULT-08", "faults", CRITICAL, ("A node is not ready", "노드 NotReady"),
  ("{subject} is not ready: {why}.", "{subject}이(가) Ready 상태가 아니다: {why}."),
  ("Read K3s' log on that machine.", "해당 노드의 K3s 로그를 확인한다."))
_("FAULT-09", "faults", CRITICAL, ("A claim asks for a class that is not there", "존재하지 않는 StorageClass"),
  ("{subject} is Pending: there is no StorageClass {actual}.", "{subject}이(가) Pending이다: StorageClass {actual}이(가) 없다."),
  ("Make the claim again with storageClassName {expected}; what it is made with cannot be changed.",
   "storageClassName {expected}(으)로 PVC를 다시 생성한다 (생성 후 변경 불가)."))
_("FAULT-10", "faults", CRITICAL, ("Nothing makes volumes", "프로비저너 중지"),
  ("{subject} has no ready pod, so no claim gets a volume.", "{subject}에 준비된 Pod가 없어 PVC가 Bound되지 않는다."),
  ("`ansible-playbook site.yml -i {inventory} --tags local_path`.",
   "`ansible-playbook site.yml -i {inventory} --tags local_path`를 실행한다."))
_("FAULT-11", "faults", CRITICAL, ("A claim gets no volume", "PVC Pending"),
  ("{subject} is {actual}: {why}.", "{subject} 상태가 {actual}이다: {why}."),
  ("Mend what the message names; the provisioner's log has more.", "메시지의 원인을 해결하고 프로비저너 로그를 확인한다."))
_("FAULT-12", "faults", CRITICAL, ("Nothing opens SealedSecrets", "SealedSecret 컨트롤러 중지"),
  ("The controller in namespace {subject} has no ready pod.", "{subject} 네임스페이스의 컨트롤러에 준비된 Pod가 없다."),
  ("`ansible-playbook site.yml -i {inventory} --tags sealed_secrets`.",
   "`ansible-playbook site.yml -i {inventory} --tags sealed_secrets`를 실행한다."))
_("FAULT-13", "faults", CRITICAL, ("Nothing answers for names in the cluster", "클러스터 DNS 중지"),
  ("{subject} has no ready pod, so no Service is found by its name.", "{subject}에 준비된 Pod가 없어 Service 이름이 해석되지 않는다."),
  ("Read what the pod says.", "Pod 상태와 로그를 확인한다."))
_("FAULT-14", "faults", CRITICAL, ("A SealedSecret cannot be opened", "SealedSecret 복호화 실패"),
  ("{subject} cannot be opened: {why}.", "{subject}을(를) 복호화할 수 없다: {why}."),
  ("If the controller has not looked at it, run site.yml, which shows it again. Otherwise seal it for this cluster: "
   "`ansible-playbook playbooks/secrets.yml -i {inventory}`, then site.yml.",
   "컨트롤러가 아직 처리하지 않았다면 site.yml이 다시 처리하게 한다. 그 외에는 `ansible-playbook playbooks/secrets.yml "
   "-i {inventory}`로 다시 봉인한 뒤 site.yml을 실행한다."))
_("FAULT-15", "faults", CRITICAL, ("A Secret is missing or lacks keys", "Secret 또는 키 누락"),
  ("{subject} lacks {actual}.", "{subject}에 {actual}이(가) 없다."),
  ("Put the values into the vault, then `ansible-playbook playbooks/secrets.yml -i {inventory}` and site.yml.",
   "vault에 값을 넣고 `ansible-playbook playbooks/secrets.yml -i {inventory}`와 site.yml을 실행한다."))
_("FAULT-16", "faults", CRITICAL, ("The registry refuses the pull", "이미지 Pull 인증 실패"),
  ("The registry does not let {subject} pull {actual}.", "레지스트리가 {subject}(으)로 {actual} Pull을 거부한다."),
  ("Put a name and token that may read the image into the vault (vault_ghcr_username, vault_ghcr_token), then "
   "`ansible-playbook playbooks/secrets.yml -i {inventory}` and site.yml.",
   "vault의 vault_ghcr_username, vault_ghcr_token을 교체하고 `ansible-playbook playbooks/secrets.yml -i {inventory}`와 "
   "site.yml을 실행한다."))
_("FAULT-17", "faults", CRITICAL, ("The image does not exist", "이미지 태그 없음"),
  ("{subject} wants {actual}, which the registry does not have.", "{subject}의 {actual}이(가) 레지스트리에 없다."),
  ("Name a tag that was pushed in the overlay's kustomization, or push it; then site.yml.",
   "오버레이 kustomization에 존재하는 태그를 지정하거나 이미지를 푸시한 뒤 site.yml을 실행한다."))
_("FAULT-18", "faults", CRITICAL, ("The registry cannot be reached", "레지스트리 접속 불가"),
  ("{subject} cannot pull {actual}: {why}.", "{subject}이(가) {actual}을(를) Pull할 수 없다: {why}."),
  ("Mend the node's way to the registry (name, route, proxy, /etc/rancher/k3s/registries.yaml).",
   "노드에서 레지스트리까지의 경로(DNS, 라우팅, 프록시, /etc/rancher/k3s/registries.yaml)를 복구한다."))
_("FAULT-19", "faults", CRITICAL, ("A variable that the app needs is missing", "필수 환경 변수 누락"),
  ("{subject} lacks {actual}, without which container {container} cannot start.",
   "{subject}에 {container} 컨테이너의 필수 변수 {actual}이(가) 없다."),
  ("Add {actual} to {where}, then site.yml.", "{where}에 {actual}을(를) 추가하고 site.yml을 실행한다."))
_("FAULT-20", "faults", HIGH, ("A container takes more memory than it may", "메모리 한도 초과"),
  ("Container {container} of {subject} was killed at its memory limit of {actual}.",
   "{subject}의 {container} 컨테이너가 메모리 한도 {actual}에서 종료되었다."),
  ("Raise the limit in the overlay, or mend what takes so much.", "오버레이에서 한도를 올리거나 메모리 사용 원인을 해결한다."))
_("FAULT-21", "faults", CRITICAL, ("A container ends again and again", "컨테이너 반복 종료"),
  ("Container {container} of {subject} ends with {actual}: {why}.", "{subject}의 {container} 컨테이너가 {actual}(으)로 종료된다: {why}."),
  ("Mend what its log names, or name the build before it in {where}; then site.yml.",
   "로그에 나타난 원인을 수정하거나 {where}에 이전 빌드 태그를 지정하고 site.yml을 실행한다."))
_("FAULT-22", "faults", CRITICAL, ("A pod finds no node", "Pod 스케줄링 실패"),
  ("{subject} cannot be placed: {why}.", "{subject}을(를) 배치할 노드가 없다: {why}."),
  ("Mend what the message names: the node's label, or the pod's requests.", "메시지에 따라 노드 레이블 또는 Pod 요청을 수정한다."))
_("FAULT-23", "faults", CRITICAL, ("A container cannot be started", "컨테이너 시작 불가"),
  ("{subject} cannot be started: {why}.", "{subject}을(를) 시작할 수 없다: {why}."),
  ("Mend what the message names.", "메시지의 원인을 수정한다."))
_("FAULT-24", "faults", HIGH, ("The app is not ready", "앱 준비 안 됨"),
  ("{subject} is not ready: {why}.", "{subject}이(가) Ready 상태가 아니다: {why}."),
  ("Mend what the app names, or name the build before it in {where}; then site.yml.",
   "앱이 보고한 원인을 수정하거나 {where}에 이전 빌드 태그를 지정하고 site.yml을 실행한다."))
_("FAULT-25", "faults", CRITICAL, ("The pod may not write: its security context is wrong", "fsGroup 또는 실행 사용자 오류"),
  ("{subject} runs with {actual}, where the contract says {expected}, and may not write to {path}.",
   "{subject}이(가) {actual}(으)로 실행되어 {path}에 쓸 수 없다. 계약은 {expected}이다."),
  ("Set {expected} in {where}, then site.yml.", "{where}에서 {expected}(으)로 수정하고 site.yml을 실행한다."))
_("FAULT-26", "faults", CRITICAL, ("The pod may not write: the volume is another's", "볼륨 소유자 오류"),
  ("{subject} cannot be written by container {container}: {why}.", "{container} 컨테이너가 {subject}에 쓸 수 없다: {why}."),
  ("Restart the pod, so that the kubelet gives the volume to fsGroup again.",
   "Pod를 재시작하여 kubelet이 볼륨에 fsGroup을 다시 적용하게 한다."))
_("FAULT-27", "faults", CRITICAL, ("The database's address is wrong", "DB 주소 오류"),
  ("{subject} says {variable} is {actual}; the contract says {expected}.", "{subject}의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Set {variable} to {expected} in {where}, then site.yml.", "{where}에서 {variable} 값을 {expected}(으)로 수정하고 site.yml을 실행한다."))
_("FAULT-28", "faults", HIGH, ("A setting has a wrong value", "설정값 오류"),
  ("{subject} says {variable} is {actual}; the contract says {expected}.", "{subject}의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Set {variable} to {expected} in {where}, then site.yml.", "{where}에서 {variable} 값을 {expected}(으)로 수정하고 site.yml을 실행한다."))
_("FAULT-29", "faults", HIGH, ("A pod runs with old settings", "이전 설정으로 실행 중인 Pod"),
  ("{subject} was started before {actual} changed in its ConfigMap or Secret.", "{subject}은(는) {actual} 변경 전에 시작되었다."),
  ("Restart it: `sudo kubectl -n {namespace} rollout restart {workload}`.",
   "`sudo kubectl -n {namespace} rollout restart {workload}`로 재시작한다."))
_("FAULT-30", "faults", CRITICAL, ("The database refuses the login", "DB 인증 실패"),
  ("PostgreSQL refuses the user and password of {subject}: {why}.", "PostgreSQL이 {subject}의 사용자와 비밀번호를 거부한다: {why}."),
  ("PostgreSQL keeps the password it was made with: give the role the new one with ALTER ROLE, or seal the old one.",
   "PostgreSQL은 초기화 시 비밀번호를 유지한다: ALTER ROLE로 변경하거나 이전 값을 다시 봉인한다."))
_("FAULT-31", "faults", CRITICAL, ("A Service leads to no pod", "엔드포인트 없는 Service"),
  ("{subject} selects {actual}, and no pod has that: the pods of {workload} have {expected}.",
   "{subject}의 셀렉터는 {actual}이며 일치하는 Pod가 없다. {workload}의 Pod 레이블은 {expected}이다."),
  ("Set the selector to {expected} in {where}, then site.yml.", "{where}에서 셀렉터를 {expected}(으)로 수정하고 site.yml을 실행한다."))
_("FAULT-32", "faults", CRITICAL, ("A Service is missing", "Service 없음"),
  ("There is no {subject}.", "{subject}이(가) 없다."),
  ("`ansible-playbook site.yml -i {inventory}` makes it.", "`ansible-playbook site.yml -i {inventory}`로 생성한다."))
_("FAULT-33", "faults", CRITICAL, ("A workload is missing or switched off", "워크로드 없음 또는 중지"),
  ("{subject} is {actual}.", "{subject} 상태: {actual}."),
  ("`ansible-playbook site.yml -i {inventory}` puts it back.", "`ansible-playbook site.yml -i {inventory}`로 복구한다."))
_("FAULT-34", "faults", HIGH, ("Something that runs cannot be reached", "통신 불가"),
  ("{subject} does not answer: {why}.", "{subject}이(가) 응답하지 않는다: {why}."),
  ("Look at NetworkPolicies, at the Service's ports and at the node's firewall.",
   "NetworkPolicy, Service 포트, 노드 방화벽을 확인한다."))
_("FAULT-35", "faults", MEDIUM, ("Something could not be looked at", "확인 불가 항목"),
  ("{subject} could not be looked at: {why}.", "{subject}을(를) 확인할 수 없다: {why}."),
  ("Mend that first, then diagnose again.", "먼저 해결한 뒤 다시 진단한다."), kind=Kind.UNCHECKED)

_("FAULT-36", "faults", CRITICAL, ("A disk cannot be read or written", "디스크 입출력 오류"),
  ("{subject} cannot be used: {why}.", "{subject}을(를) 사용할 수 없다: {why}."),
  ("Read the kernel's log. A file system that turned read-only after errors has to be checked with fsck, or its volume "
   "replaced; then `sudo mount -o remount,rw` or a restart of the machine.",
   "커널 로그를 확인한다. 오류로 읽기 전용이 된 파일 시스템은 fsck로 검사하거나 볼륨을 교체한 뒤 다시 마운트하거나 재부팅한다."))

# --- drift ------------------------------------------------------------------------------------------

_("DRIFT-01", "drift", MEDIUM, ("An object that nobody declared", "선언되지 않은 객체"),
  ("{subject} is in the cluster, and no manifest declares it{trace}.", "{subject}이(가) 클러스터에 있으나 어떤 매니페스트에도 선언되지 않음{trace}."),
  ("Declare it in manifests/ or remove it; look first: `{command}`", "manifests/에 선언하거나 삭제한다. 먼저 확인: `{command}`"), kind=Kind.DRIFT)
_("DRIFT-02", "drift", HIGH, ("A declared object was edited in the cluster", "선언된 객체의 직접 수정"),
  ("{subject}: {what} is {actual}; the last provision left {expected}{trace}.", "{subject}: {what} 값이 {actual}이며, 마지막 프로비저닝 시 값은 {expected}이다{trace}."),
  ("Run `ansible-playbook site.yml -i inventories/<env>` to undo it, or declare it in manifests/.",
   "`ansible-playbook site.yml -i inventories/<env>`으로 되돌리거나 manifests/에 선언한다."), kind=Kind.DRIFT)
_("DRIFT-03", "drift", MEDIUM, ("An object of the system was edited", "시스템 객체의 직접 수정"),
  ("{subject}: {what} is {actual}{trace}.", "{subject}: {what} 값이 {actual}(으)로 직접 수정됨{trace}."),
  ("Undo it; no run does. Look first: `{command}`", "직접 되돌린다. 프로비저닝은 되돌리지 않는다. 먼저 확인: `{command}`"), kind=Kind.DRIFT)
_("DRIFT-04", "drift", CRITICAL, ("A declared object is gone", "선언된 객체 삭제됨"),
  ("{subject} is gone since the last provision.", "{subject}이(가) 마지막 프로비저닝 이후 삭제됨."),
  ("Run `ansible-playbook site.yml -i inventories/<env>` to make it again.", "`ansible-playbook site.yml -i inventories/<env>`으로 다시 생성한다."), kind=Kind.DRIFT)
_("DRIFT-05", "drift", HIGH, ("A file that a role writes was edited", "role이 관리하는 파일 수정됨"),
  ("{subject} was edited on the node{trace}.", "{subject} 파일이 노드에서 수정됨{trace}."),
  ("Run `ansible-playbook site.yml -i inventories/<env>` to undo it, or set the role's variable.",
   "`ansible-playbook site.yml -i inventories/<env>`으로 되돌리거나 role 변수를 설정한다."), kind=Kind.DRIFT)
_("DRIFT-06", "drift", HIGH, ("A file that a role writes is gone", "role이 관리하는 파일 삭제됨"),
  ("{subject} is gone since the last provision.", "{subject} 파일이 마지막 프로비저닝 이후 삭제됨."),
  ("Run `ansible-playbook site.yml -i inventories/<env>` to write it again.", "`ansible-playbook site.yml -i inventories/<env>`으로 다시 생성한다."), kind=Kind.DRIFT)
_("DRIFT-07", "drift", HIGH, ("Mode or owner of a file changed", "파일 모드 또는 소유자 변경됨"),
  ("The {what} of {subject} is {actual}, and was {expected}{trace}.", "{subject}의 {what} 값이 {actual}이며, 이전 값은 {expected}이다{trace}."),
  ("Put it back; a file of ours is by `ansible-playbook site.yml -i inventories/<env>`.",
   "원래대로 되돌린다. role이 관리하는 파일은 `ansible-playbook site.yml -i inventories/<env>`으로 복구된다."), kind=Kind.DRIFT)
_("DRIFT-08", "drift", MEDIUM, ("A new file where files steer the node", "시스템 설정 위치의 새 파일"),
  ("{subject} is new since the last provision{trace}.", "{subject}: 마지막 프로비저닝 이후 생성됨{trace}."),
  ("Find out who put it there: `{command}`; remove it, or provision again to accept it.",
   "생성 주체를 확인한다: `{command}`. 삭제하거나 다시 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-09", "drift", MEDIUM, ("A file that steers the node was edited or removed", "시스템 설정 파일 수정 또는 삭제됨"),
  ("{subject}: {actual}, unlike at the last provision{trace}.", "{subject}: 마지막 프로비저닝과 다름 ({actual}){trace}."),
  ("Find out who did it: `{command}`; undo it, or provision again to accept it.",
   "변경 주체를 확인한다: `{command}`. 되돌리거나 다시 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-10", "drift", LOW, ("A package was installed", "패키지 설치됨"),
  ("{subject} {actual} was installed since the last provision{trace}.", "{subject} {actual}: 마지막 프로비저닝 이후 설치됨{trace}."),
  ("Look when and with what: `{command}`; remove it, or provision again to accept it.",
   "설치 기록을 확인한다: `{command}`. 제거하거나 다시 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-11", "drift", MEDIUM, ("A package was removed", "패키지 제거됨"),
  ("{subject} {expected} was removed since the last provision.", "{subject} {expected}: 마지막 프로비저닝 이후 제거됨."),
  ("Look when and with what: `{command}`; install it again, or provision again to accept it.",
   "제거 기록을 확인한다: `{command}`. 다시 설치하거나 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-12", "drift", LOW, ("A package has another version", "패키지 버전 변경됨"),
  ("{subject} is {actual}, and was {expected}{trace}.", "{subject} 버전이 {actual}이며, 이전 버전은 {expected}이다{trace}."),
  ("Security updates do this by themselves. Provision again to accept it.", "보안 업데이트로 자동 변경될 수 있다. 다시 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-13", "drift", MEDIUM, ("A unit was switched on or off", "유닛 활성화 상태 변경됨"),
  ("{subject} is {actual}, and was {expected}.", "{subject} 상태가 {actual}이며, 이전 상태는 {expected}이다."),
  ("Look at it: `{command}`; undo it, or provision again to accept it. A unit of ours is put back by that.",
   "확인한다: `{command}`. 되돌리거나 다시 프로비저닝하여 수용한다. role이 관리하는 유닛은 프로비저닝으로 복구된다."), kind=Kind.DRIFT)
_("DRIFT-14", "drift", HIGH, ("A unit that ran does not run", "실행 중이던 유닛 중지됨"),
  ("{subject} is {actual}, and was {expected} after the last provision.", "{subject} 상태가 {actual}이며, 마지막 프로비저닝 후 상태는 {expected}이다."),
  ("Look why: `{command}`", "원인을 확인한다: `{command}`"), kind=Kind.DRIFT)
_("DRIFT-15", "drift", HIGH, ("An account changed", "계정 변경됨"),
  ("{subject}: {actual}; after the last provision: {expected}.", "{subject}: {actual} (마지막 프로비저닝 후: {expected})."),
  ("Find out who did it: `{command}`; undo it, or provision again to accept it.",
   "변경 주체를 확인한다: `{command}`. 되돌리거나 다시 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-16", "drift", HIGH, ("A key that opens an account changed", "계정 SSH 키 변경됨"),
  ("{subject}: {actual}; after the last provision: {expected}.", "{subject}: {actual} (마지막 프로비저닝 후: {expected})."),
  ("Find out whose it is: `{command}`; undo it, or provision again to accept it.",
   "키의 소유자를 확인한다: `{command}`. 되돌리거나 다시 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-17", "drift", MEDIUM, ("A port listens that did not", "새 수신 포트"),
  ("{subject} listens since the last provision.", "{subject}: 마지막 프로비저닝 이후 수신 중."),
  ("Find out what it is: `{command}`; stop it, or provision again to accept it.", "확인한다: `{command}`. 중지하거나 다시 프로비저닝하여 수용한다."), kind=Kind.DRIFT)
_("DRIFT-18", "drift", HIGH, ("The packet filter has other rules", "패킷 필터 규칙 변경됨"),
  ("{subject}: {actual}; after the last provision: {expected}.", "{subject}: {actual} (마지막 프로비저닝 후: {expected})."),
  ("Look at the chain: `{command}`; `systemctl restart observer-firewall` puts the project's own rules back.",
   "체인을 확인한다: `{command}`. `systemctl restart observer-firewall`로 프로젝트의 규칙을 복구한다."), kind=Kind.DRIFT)
_("DRIFT-19", "drift", HIGH, ("The running kernel has another setting", "커널 설정값 변경됨"),
  ("{subject} is {actual}, and was {expected}.", "{subject} 값이 {actual}이며, 이전 값은 {expected}이다."),
  ("Run `ansible-playbook site.yml -i inventories/<env>` to put it back.", "`ansible-playbook site.yml -i inventories/<env>`으로 되돌린다."), kind=Kind.DRIFT)
_("DRIFT-20", "drift", LOW, ("There is no baseline", "기준 상태 없음"),
  ("{subject} has no baseline, so only objects of the cluster could be looked at for drift.", "{subject}에 기준 상태가 없어 클러스터 객체의 드리프트만 확인함."),
  ("Run `{command}`; it writes the baseline at its end.", "`{command}`을(를) 실행한다. 종료 시 기준 상태가 기록된다."), kind=Kind.UNCHECKED)
_("DRIFT-21", "drift", MEDIUM, ("A part of the state could not be read", "확인하지 못한 상태"),
  ("{subject}: {about} could not be looked at for drift: {why}.", "{subject}: {about}의 드리프트를 확인하지 못함: {why}."),
  ("Mend what keeps it from being read, then look again: `{command}`", "확인을 막는 원인을 수정한 뒤 다시 확인한다: `{command}`"), kind=Kind.UNCHECKED)

_("DRIFT-29", "drift", MEDIUM, ("Drift was not looked for on a node", "드리프트를 확인하지 못한 노드"),
  ("Nobody knows whether {subject} has drifted: it was not looked at for that.", "{subject}의 드리프트 여부를 확인하지 못했다."),
  ("Run `{command}`, mend what it says, then verify again.", "`{command}`을(를) 실행하여 원인을 해소한 뒤 다시 검증한다."), kind=Kind.UNCHECKED)

# --- backups ----------------------------------------------------------------------------------------

_("BACKUP-01", "backup", HIGH, ("A backup is late, fails or cannot be read", "백업 지연, 실패 또는 판독 불가"),
  ("The backup job {job} of {subject} is bad: {actual}.", "{subject}의 백업 작업 {job} 이상: {actual}."),
  ("On the node `{command}` says why, and /var/lib/observer-node/backup/state.txt what to do.",
   "노드에서 `{command}`(으)로 원인을, /var/lib/observer-node/backup/state.txt에서 조치 방법을 확인한다."))

# --- persistence (seed 001, Step 5) -----------------------------------------------------------------

_("PERSIST-01", "persistence", CRITICAL, ("Data was lost when the pods were deleted", "Pod 재생성 후 데이터 손실"),
  ("After the pods of {subject} were deleted and made again, this is lost: {actual}.", "{subject}의 Pod 재생성 후 손실됨: {actual}."),
  ("Look at the volumes of its pods: what is not under a claim's mount goes with the pod.", "Pod의 볼륨을 확인한다. PVC 마운트 밖의 데이터는 Pod와 함께 사라진다."))
_("PERSIST-02", "persistence", HIGH, ("Not everything came back after the pods were deleted", "Pod 삭제 후 복구 실패"),
  ("The pods of {subject} were deleted, and {reason}.", "{subject}의 Pod를 삭제했으나 복구되지 않았다: {reason}."),
  ("Run `{command}`.", "`{command}`을(를) 실행한다."))
_("PERSIST-03", "persistence", MEDIUM, ("Persistence could not be tried", "영속성 검증 불가"),
  ("Nothing was deleted in {subject}: {reason}.", "{subject}에서 아무것도 삭제하지 않았다: {reason}."),
  ("Mend that first, then verify again.", "먼저 수정한 뒤 다시 검증한다."), kind=Kind.UNCHECKED)
_("PERSIST-04", "persistence", MEDIUM, ("Not all data could be compared", "일부 데이터 비교 불가"),
  ("After the pods of {subject} were deleted and made again, this could not be compared: {actual}.", "{subject}의 Pod 재생성 후 비교하지 못함: {actual}."),
  ("Mend what keeps it from being read, or look by hand; then ask for Step 5 again.", "읽지 못하는 원인을 해소하거나 직접 확인한 뒤 Step 5를 다시 요청한다."), kind=Kind.UNCHECKED)

# --- steps of the report (seed 001) -----------------------------------------------------------------

_("STEP-01", "steps", HIGH, ("A step of the verification fails", "검증 단계 FAIL"),
  ("{subject} fails: {reason}.", "{subject} FAIL: {reason_ko}."),
  ("Open the step in the report, and run `ansible-playbook playbooks/diagnose.yml` with the same inventory.",
   "보고서에서 해당 단계를 확인하고 같은 인벤토리로 `ansible-playbook playbooks/diagnose.yml`을 실행한다."))
_("STEP-02", "steps", MEDIUM, ("A step of the verification could not be checked", "확인하지 못한 검증 단계"),
  ("{subject} was not looked at, or not all of it: {reason}.", "{subject}의 전부 또는 일부를 확인하지 못함: {reason_ko}."),
  ("Mend what keeps it from being looked at, then verify again.", "확인을 막는 원인을 수정한 뒤 다시 검증한다."), kind=Kind.UNCHECKED)
