"""Codes of findings about a living system: what runs, where `codes.py` is about what files say (seed 001, Steps 1 to 6)."""

from __future__ import annotations

from .codes import CRITICAL, HIGH, LOW, MEDIUM, _  # noqa: F401
from .model import Kind  # noqa: F401

__all__: list[str] = []

# --- node -------------------------------------------------------------------------------------------

# --- live -------------------------------------------------------------------------------------------

# --- faults -----------------------------------------------------------------------------------------

# --- drift ------------------------------------------------------------------------------------------

# --- persistence (seed 001, Step 5) -----------------------------------------------------------------

_("PERSIST-01", "persistence", CRITICAL, ("Data was lost when the pods were deleted", "Pod 재생성 후 데이터 손실"),
  ("After the pods of {subject} were deleted and made again, this is lost: {actual}.", "{subject}의 Pod 재생성 후 손실됨: {actual}."),
  ("Look at the volumes of its pods: what is not under a claim's mount goes with the pod.", "Pod의 볼륨을 확인한다. PVC 마운트 밖의 데이터는 Pod와 함께 사라진다."))
_("PERSIST-02", "persistence", HIGH, ("The pods did not come back", "Pod 삭제 후 복구 실패"),
  ("The pods of {subject} were deleted, and {reason}.", "{subject}의 Pod를 삭제했으나 복구되지 않았다: {reason}."),
  ("Run `{command}`.", "`{command}`을(를) 실행한다."))
_("PERSIST-03", "persistence", MEDIUM, ("Persistence could not be tried", "영속성 검증 불가"),
  ("Nothing was deleted in {subject}: {reason}.", "{subject}에서 아무것도 삭제하지 않았다: {reason}."),
  ("Mend that first, then verify again.", "먼저 수정한 뒤 다시 검증한다."), kind=Kind.UNCHECKED)

# --- steps of the report (seed 001) -----------------------------------------------------------------

_("STEP-01", "steps", HIGH, ("A step of the verification fails", "검증 단계 FAIL"),
  ("{subject} fails: {reason}.", "{subject} FAIL: {reason_ko}."),
  ("Open the step in the report, and run `ansible-playbook playbooks/diagnose.yml` with the same inventory.",
   "보고서에서 해당 단계를 확인하고 같은 인벤토리로 `ansible-playbook playbooks/diagnose.yml`을 실행한다."))
_("STEP-02", "steps", MEDIUM, ("A step of the verification could not be checked", "확인하지 못한 검증 단계"),
  ("{subject} was not looked at, or not all of it: {reason}.", "{subject}의 전부 또는 일부를 확인하지 못함: {reason_ko}."),
  ("Mend what keeps it from being looked at, then verify again.", "확인을 막는 원인을 수정한 뒤 다시 검증한다."), kind=Kind.UNCHECKED)
